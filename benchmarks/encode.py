"""How fast the bundled checkpoint encodes, against the model it was made from in float32.

Usage: python benchmarks/encode.py BASE [--passages N] [--threads N] [--rounds N]

BASE is all-MiniLM-L6-v2: a directory or a Hub id (needs the extra [torch]). Both encode the same
passages of 100 words, in turns; PyTorch sorts them by length and takes batches of 16.
Then queries of 32 tokens on one thread. Times are of the wall, medians of the rounds. With
``--threads 1`` the ratio is given of processor time as well, which other work on the machine
changes less; PyTorch's further threads spin while they wait, which isn't work. The first line says
what the times depend on: the processor's features that matter here, and the versions.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from sentence_transformers import SentenceTransformer

from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.ingest.load import load

ROOT = Path(__file__).parent.parent
FOLDERS = (ROOT / "rag_tools" / "sample", ROOT / "examples" / "corpus")
SUFFIXES = {".html", ".md", ".py", ".rst", ".txt"}
QUERY_TOKENS = 32
# Those that ONNX Runtime has int8 products for, fastest first, as Linux names them.
INT8_FEATURES = ("avx512_vnni", "avx_vnni", "avx2", "asimddp", "asimd")
BATCH = 16  # 8 to 64 are within a tenth of each other here


def main() -> None:
    """Print the surroundings, passages a second of both, ratios, and a query's milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base")
    parser.add_argument("--passages", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base = SentenceTransformer(arguments.base, device="cpu")
    ours = Encoder(load_checkpoint(), threads=arguments.threads)
    texts = passages(arguments.passages)

    def theirs() -> None:
        base.encode(texts, batch_size=BATCH, show_progress_bar=False)

    sides: dict[str, Callable[[], object]] = {
        "rag-tools, int8": lambda: list(ours.encode_passages((text, "") for text in texts)),
        "PyTorch, float32": theirs,
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    worked: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.rounds + 1):  # the first one warms up
        for name, side in sides.items():
            start, start_work = time.perf_counter(), time.process_time()
            side()
            taken[name].append(time.perf_counter() - start)
            worked[name].append(time.process_time() - start_work)
    print(surroundings())
    for name, seconds in taken.items():
        print(f"{name:<18}{len(texts) / statistics.median(seconds[1:]):8.1f} passages/s")
    compared = {"ratio": taken}
    if arguments.threads == 1:
        compared["of processor time"] = worked
    for name, times in compared.items():
        ratios = [b / a for a, b in zip(*(each[1:] for each in times.values()), strict=True)]
        spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{name:<18}{statistics.median(ratios):8.2f}  {spread}")
    print(f"query of {QUERY_TOKENS} tokens{query_milliseconds(texts):8.2f} ms, one thread")


def surroundings() -> str:
    """Return the processor's features, as far as they can be told, and the versions."""
    info = Path("/proc/cpuinfo")
    words = set(info.read_text(encoding="utf-8").split()) if info.is_file() else set()
    features = [name for name in INT8_FEATURES if name in words]
    return (
        f"processor {' '.join(features) or 'unknown'}, ONNX Runtime {onnxruntime.__version__}, "
        f"PyTorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"
    )


def passages(count: int) -> list[str]:
    """Cut the sample documents into passages of 100 words and draw from them evenly."""
    texts = []
    files = (path for folder in FOLDERS for path in folder.rglob("*") if path.suffix in SUFFIXES)
    for path in sorted(files, key=lambda path: path.name):
        words = load(path).text.split()
        texts += [" ".join(words[i : i + 100]) for i in range(0, len(words) - 99, 100)]
    return texts[:: max(len(texts) // count, 1)][:count]


def query_milliseconds(texts: list[str]) -> float:
    """Return the median time of a query of exactly so many tokens, markers included."""
    encoder = Encoder(load_checkpoint(), threads=1)
    queries = []
    for text in texts:
        words = text.split()
        for end in range(8, len(words)):
            query = " ".join(words[:end])
            n_tokens = encoder.inputs(query, query=True)["input_ids"].size
            if n_tokens == QUERY_TOKENS:
                queries.append(query)
            if n_tokens >= QUERY_TOKENS:  # a word may take several tokens, and go beyond
                break
    taken = []
    for query in queries[:200]:
        start = time.perf_counter()
        encoder.encode_query(query)
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


if __name__ == "__main__":
    main()
