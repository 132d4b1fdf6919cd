"""Answer a question from your own documents with LlamaIndex, every source cited.

rag-tools index examples/corpus
python examples/llama_index_rag.py "how long may a line of code be?"
"""

import sys

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine

from llama_index_rag_tools import RagToolsRetriever

# Says back what it was asked, which needs no key: put your own model here.
llm = MockLLM()

query_engine = RetrieverQueryEngine.from_args(RagToolsRetriever(k=3), llm=llm)

if __name__ == "__main__":
    response = query_engine.query(sys.argv[1])
    print(response)
    for n, found in enumerate(response.source_nodes, 1):
        for cited in found.node.metadata["citations"]:
            print(f"[{n}] {cited['quote']}\n    {cited['url']}")
