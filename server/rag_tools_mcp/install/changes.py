"""A change to a user's file: shown before it is written, written atomically, with a backup."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from difflib import unified_diff
from pathlib import Path
from typing import NamedTuple

from rag_tools.errors import HostError


class Change(NamedTuple):
    """The text of a file before and after; `before` is None if there is no such file."""

    file: Path
    before: str | None
    after: str

    @property
    def empty(self) -> bool:
        """Whether the change does nothing."""
        return self.after == (self.before or "")

    @property
    def backup(self) -> Path:
        """The file to which `write` copies the original."""
        return self.file.with_name(f"{self.file.name}.before-rag-tools")

    def diff(self) -> str:
        """Return the change as a unified diff."""
        lines = unified_diff(
            (self.before or "").splitlines(),
            self.after.splitlines(),
            os.devnull if self.before is None else str(self.file),
            str(self.file),
            lineterm="",
        )
        return "".join(f"{line}\n" for line in lines)

    def write(self) -> None:
        """Make a backup of the file and replace it atomically.

        Its permissions are kept, and so is a symbolic link to it.

        Raises
        ------
        HostError
            If the file was changed in the meantime, or can't be written.
        """
        if read(self.file) != self.before:
            raise HostError(
                f"{self.file} was changed by another program in the meantime: try again"
            )
        # Of a symbolic link, the file that it points to is replaced.
        file = Path(os.path.realpath(self.file))
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o666
            if self.before is not None:
                shutil.copy2(file, self.backup)
                mode = file.stat().st_mode & 0o777
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(self.after.encode())
                    stream.flush()
                    os.fsync(descriptor)
                if self.before is not None:
                    temporary.chmod(mode)  # the umask may have removed bits
                temporary.replace(file)
            finally:
                with suppress(OSError):
                    temporary.unlink()
        except OSError as error:
            raise HostError(f"can't write {self.file}: {error}") from error


def read(file: Path) -> str | None:
    """Return the text of a file with its line ends unchanged; None if it doesn't exist.

    Raises
    ------
    HostError
        If it can't be read, or isn't UTF-8.
    """
    try:
        return file.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"can't read {file}: {error}") from error
