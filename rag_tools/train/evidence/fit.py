"""A run of the evidence model: batches trained on, measures taken, states kept."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import distributed
from torch.nn.utils import clip_grad_norm_

from rag_tools.encode.checkpoint import BUNDLED
from rag_tools.encode.restore import restore
from rag_tools.errors import ConfigurationError
from rag_tools.evidence.layout import Composer
from rag_tools.evidence.model import load_tokenizer
from rag_tools.train.evidence.batches import Collator, plan
from rag_tools.train.evidence.check import MEAN, Check, rounded
from rag_tools.train.evidence.config import EvidenceSettings
from rag_tools.train.evidence.examples import Example, read_examples
from rag_tools.train.evidence.loss import Losses, losses
from rag_tools.train.evidence.model import EvidenceNet, load_net, load_weights, origin
from rag_tools.train.evidence.prepare import EXAMPLES_FILE, prepare

LOG_FILE = "log.jsonl"
STATE_FILE = "state.pt"
BEST_FILE = "best.pt"
BASE = "base"
SETTINGS_FILE = "settings.json"
TEAM_FILE = "team"
_TELL_EVERY = 20  # steps

Report = Callable[[Mapping[str, float]], None]


def train_evidence(
    settings: EvidenceSettings,
    out: Path,
    *,
    base: Path | None = None,
    resume: bool = False,
    report: Report = lambda _: None,
) -> Path | None:
    """Train the model; return the file of the best state, None if nothing was measured.

    Parameters
    ----------
    settings
        Settings of the run.
    out
        Folder for the examples, the log, and the last and best states.
    base
        Folder of a BERT in Hugging Face's layout. By default, the encoder of the bundled checkpoint
        is used, its weights restored from int8.
    resume
        Whether to continue from the last state in `out`.
    report
        Called with every entry of the log.

    Raises
    ------
    ConfigurationError
        If there is a run in `out` and `resume` isn't set, or if its settings are others.
    CheckpointError
        If the weights to start from can't be read, or are those of another model.
    """
    _open(settings, out, resume=resume)
    counted = prepare(settings, out)
    if base is None:
        base = out / BASE
        if not (base / "modules.json").is_file():
            restore(BUNDLED, base)
    log = _Log(out / LOG_FILE, report)
    log({"pairs": 0, "examples": counted.total(), "sources": dict(sorted(counted.items()))})
    team = _Team(0, settings.workers, out / TEAM_FILE)
    (out / TEAM_FILE).unlink(missing_ok=True)
    others = [
        multiprocessing.get_context("spawn").Process(
            target=_help, args=(team._replace(rank=rank), settings, out, base, resume), daemon=True
        )
        for rank in range(1, settings.workers)
    ]
    for process in others:
        process.start()
    run = _work(team, settings, out, base, log, resume=resume)
    for process in others:
        process.join()
    return out / BEST_FILE if run.best >= 0 else None


class _Team(NamedTuple):
    """The processes that share a run: which one this is, of how many, and where they meet."""

    rank: int
    size: int
    file: Path

    def join(self) -> None:
        """Wait for the others. A process has one thread, so that products don't wait."""
        torch.set_num_threads(1)
        if self.size > 1:
            distributed.init_process_group(
                "gloo",
                init_method=self.file.resolve().as_uri(),
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(hours=6),  # one may be stopped for a while
            )

    def share(self, net: EvidenceNet) -> None:
        """Give every process the mean of all gradients."""
        if self.size == 1:
            return
        weights = list(net.trained().values())
        flat = torch.cat(
            [
                (torch.zeros_like(each) if each.grad is None else each.grad).flatten()
                for each in weights
            ]
        )
        distributed.all_reduce(flat)
        flat /= self.size
        start = 0
        for each in weights:
            each.grad = flat[start : start + each.numel()].view_as(each)
            start += each.numel()

    def gather(self, found: dict[int, Any]) -> list[dict[int, Any]]:
        """Return what every process found."""
        if self.size == 1:
            return [found]
        everything: list[Any] = [None] * self.size
        distributed.all_gather_object(everything, found)
        return everything

    def leave(self) -> None:
        """End what `join` began."""
        if self.size > 1:
            distributed.destroy_process_group()


def _help(team: _Team, settings: EvidenceSettings, out: Path, base: Path, resume: bool) -> None:
    _work(team, settings, out, base, None, resume=resume)


def _work(
    team: _Team,
    settings: EvidenceSettings,
    out: Path,
    base: Path,
    log: _Log | None,
    *,
    resume: bool,
) -> _Run:
    """Do one process's part of a run; the one that has the log logs and saves."""
    team.join()
    torch.manual_seed(settings.seed)
    net = load_net(base, settings.frozen)
    if settings.start:
        net.load_state_dict(load_weights(Path(settings.start), origin(net)), strict=False)
    tokenizer = load_tokenizer(base)
    examples, claims = _divided(list(read_examples(out / EXAMPLES_FILE)), settings)
    run = _Run(net, settings, out)
    if resume:
        run.load()
    check = Check(settings, claims, rank=team.rank, size=team.size, gather=team.gather)
    wide = Collator(Composer(tokenizer))
    run.keep(lambda: check(net, wide), log)
    if run.pairs == 0:
        run.measure()
    _train(run, team, examples, Collator(Composer(tokenizer, settings.max_tokens)))
    run.measure()
    if log is not None:
        run.save()
    team.leave()
    return run


class _Run:
    """What changes in a run, and where it is kept."""

    def __init__(self, net: EvidenceNet, settings: EvidenceSettings, out: Path) -> None:
        heads = ("segment.", "evidence.", "pooler.", "verdicts.")
        trained = net.trained()
        self.net, self.settings, self.out = net, settings, out
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": [v for n, v in trained.items() if n.startswith(heads) == new],
                    "peak": rate,
                }
                for new, rate in (
                    (False, settings.learning_rate),
                    (True, settings.head_learning_rate),
                )
            ],
            lr=settings.learning_rate,
            weight_decay=0.01,
        )
        self.step = self.pairs = 0
        self.best = -1.0
        self._check: Callable[[], dict[str, float]] | None = None
        self.log: _Log | None = None

    def rate(self) -> float:
        """Return what peaks are multiplied by at this point."""
        done = self.pairs / self.settings.pairs
        rising = done / self.settings.warmup if self.settings.warmup else 1.0
        falling = (1 - done) / self.settings.cooldown if self.settings.cooldown else 1.0
        return max(min(1.0, rising, falling), 0.0)

    def keep(self, check: Callable[[], dict[str, float]], log: _Log | None) -> None:
        """Say how to measure; the process that has the log also writes down and saves."""
        self._check, self.log = check, log

    def measure(self) -> None:
        """Measure, together with the other processes, and keep the state if it is the best."""
        assert self._check is not None
        found = self._check()
        if self.log is None:
            return
        self.log({"pairs": self.pairs, **rounded(found)})
        if found[MEAN] > self.best:
            self.best = found[MEAN]
            _save({"net": self.net.trained(), "pairs": self.pairs}, self.out / BEST_FILE)

    def save(self) -> None:
        """Keep all that resuming needs."""
        state = {
            "net": self.net.trained(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "pairs": self.pairs,
            "best": self.best,
        }
        _save(state, self.out / STATE_FILE)

    def load(self) -> None:
        """Take up the last state, if there is one."""
        file = self.out / STATE_FILE
        if not file.is_file():
            return
        state = torch.load(file, weights_only=True)
        self.net.load_state_dict(state["net"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.pairs, self.best = state["step"], state["pairs"], state["best"]


def _train(run: _Run, team: _Team, examples: Sequence[Example], collate: Collator) -> None:
    settings = run.settings
    sizes = [len(each.passages) for each in examples]
    told = _Told()
    saved = time.monotonic()
    run.net.train()
    batches = plan(examples, batch_pairs=settings.batch_pairs, seed=settings.seed)
    for numbers in islice(batches, run.step, None):
        if run.pairs >= settings.pairs:
            break
        run.optimizer.zero_grad(set_to_none=True)
        own = numbers[team.rank :: team.size]
        if own:
            batch = collate([examples[number] for number in own])
            terms = losses(run.net(*batch.rows), batch)
            terms.total(settings.weights).backward()
            told.add(terms, sum(sizes[number] for number in numbers))
        team.share(run.net)
        clip_grad_norm_(list(run.net.trained().values()), settings.max_gradient)
        for group in run.optimizer.param_groups:
            group["lr"] = group["peak"] * run.rate()
        run.optimizer.step()
        before = run.pairs
        run.step += 1
        run.pairs += sum(sizes[number] for number in numbers)
        if before // settings.check_every != run.pairs // settings.check_every:
            run.measure()
        if run.log is None:
            continue
        if run.step % _TELL_EVERY == 0:
            run.log({"pairs": run.pairs, **told.means()})
        if time.monotonic() - saved > settings.save_every:
            run.save()
            saved = time.monotonic()


class _Told:
    """Means of the loss's terms since they were last told."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._n = self._pairs = 0
        self._since = time.monotonic()

    def add(self, terms: Losses, pairs: int) -> None:
        """Count a batch of so many pairs."""
        for name, value in terms._asdict().items():
            self._sums[name] += float(value.detach())
        self._n += 1
        self._pairs += pairs

    def means(self) -> dict[str, float]:
        """Return the means and the speed, and begin anew."""
        now = time.monotonic()
        found = {name: round(value / max(self._n, 1), 4) for name, value in self._sums.items()}
        found["pairs/s"] = round(self._pairs / (now - self._since), 2)
        self.__init__()  # type: ignore[misc]
        return found


class _Log:
    """Writes lines of JSON and passes them on."""

    def __init__(self, file: Path, report: Report) -> None:
        self._file, self._report = file, report

    def __call__(self, record: dict[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._report(record)


def _open(settings: EvidenceSettings, out: Path, *, resume: bool) -> None:
    file = out / SETTINGS_FILE
    if file.is_file():
        if not resume:
            raise ConfigurationError(f"{out} has a run already: resume it, or name another folder")
        if file.read_text(encoding="utf-8") != settings.model_dump_json(indent=1):
            raise ConfigurationError(f"{out} has a run of other settings: name another folder")
        return
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(settings.model_dump_json(indent=1), encoding="utf-8")


def _divided(
    examples: list[Example], settings: EvidenceSettings
) -> tuple[list[Example], list[Example]]:
    """Return the examples to train on, and the claims to measure on, which share no passage."""
    claims = [each for each in examples if each.label is not None]
    texts = sorted({each.passages[0].text for each in claims})
    n_kept = round(settings.dev_claims * len(texts))
    kept = set(random.Random(settings.seed).sample(texts, n_kept))
    held = [each for each in claims if each.passages[0].text in kept]
    return [each for each in examples if not any(read.text in kept for read in each.passages)], held


def _save(state: dict[str, Any], file: Path) -> None:
    scratch = file.with_suffix(".new")
    torch.save(state, scratch)
    scratch.replace(file)
