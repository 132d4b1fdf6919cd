"""Answer a question from your own documents with LangChain, every source cited.

rag-tools index examples/corpus
python examples/langchain_rag.py "how long may a line of code be?"
"""

import sys

from langchain_core.documents import Document
from langchain_core.language_models import ParrotFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from langchain_rag_tools import RagToolsRetriever


def sources(documents: list[Document]) -> str:
    """Return the quotes, numbered, each with the link that opens it in its document."""
    citations = [cited for document in documents for cited in document.metadata["citations"]]
    return "\n".join(
        f"[{n}] {cited['quote']}\n    {cited['url']}" for n, cited in enumerate(citations, 1)
    )


prompt = ChatPromptTemplate.from_template(
    "Answer from these sources only and give their numbers.\n\n{sources}\n\nQuestion: {question}"
)
# Says back what it was asked, which needs no key: put your own chat model here.
model = ParrotFakeChatModel()

chain = (
    {"sources": RagToolsRetriever(k=3) | sources, "question": RunnablePassthrough()}
    | prompt
    | model
    | StrOutputParser()
)

if __name__ == "__main__":
    print(chain.invoke(sys.argv[1]))
