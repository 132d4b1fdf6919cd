"""Answer a question from your own documents with LangChain, every source cited.

rag-tools index rag_tools/sample
python examples/langchain_rag.py "how long may a line of code be?"
"""

import sys

from langchain_core.language_models import ParrotFakeChatModel
from langchain_core.prompts import ChatPromptTemplate

from langchain_rag_tools import RagToolsRetriever, annotate, numbered_quotes

prompt = ChatPromptTemplate.from_template(
    "Answer from these sources only and give their numbers.\n\n{sources}\n\nQuestion: {question}"
)
# Says back what it was asked, which needs no key: put your own chat model here.
model = ParrotFakeChatModel()

if __name__ == "__main__":
    question = sys.argv[1]
    documents = RagToolsRetriever(k=3).invoke(question)
    answer = (prompt | model).invoke({"sources": numbered_quotes(documents), "question": question})
    print(answer.text, "\n")
    for block in annotate(answer, documents).content_blocks:
        if block["type"] == "text":
            for cited in block["annotations"]:
                if cited["type"] == "citation":
                    print(f"[{cited['extras']['number']}] {cited['title']}: {cited['url']}")
