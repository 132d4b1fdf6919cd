"""Answer a question from your own documents with LlamaIndex, every source cited.

rag-tools index rag_tools/sample
python examples/llama_index_rag.py "how long may a line of code be?"
"""

import sys

from llama_index.core.llms import MockLLM

from llama_index_rag_tools import RagToolsRetriever, SpanCitationQueryEngine

# Says back what it was asked, which needs no key: put your own model here.
llm = MockLLM()

if __name__ == "__main__":
    response = SpanCitationQueryEngine(RagToolsRetriever(k=3), llm=llm).query(sys.argv[1])
    print(response, "\n")
    # `response.citations` has those that the answer refers to.
    for found in response.source_nodes:
        (cited,) = found.node.metadata["citations"]
        print(f"[{found.node.metadata['number']}] {cited['quote']}\n    {cited['url']}")
