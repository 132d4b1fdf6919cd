"""Pictures to canonical text: what is recognised in them, see ``ocr``."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from rag_tools.errors import UnreadableFileError, UnsupportedFormatError
from rag_tools.ingest import ocr
from rag_tools.ingest.extras import WITHOUT_OCR, recognises_text
from rag_tools.ingest.pdf import flow_blocks, flow_map
from rag_tools.ingest.pdf_flow import flow
from rag_tools.ingest.pdf_page import PageText
from rag_tools.types import Document

_MOST_PIXELS = 100_000_000
_MOST_FRAMES = 200  # pages of a TIFF
_SMALLEST = 32  # pixels a side; an icon has no text that is worth reading
_POINTS = 72 / 200  # of a pixel: as of a page that is scanned at 200 dpi
_LARGEST = 3200.0  # points a side, of which boxes hold tenths


def load_picture(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a picture: the text that is recognised in it, maybe none.

    Each picture in the file is a page, on which every character has a box. A `Loader`, see
    `rag_tools.ingest.load`.

    Raises
    ------
    UnreadableFileError
        As every loader does; also if the picture has too many pixels.
    UnsupportedFormatError
        The extra ``[ocr]`` isn't installed.
    """
    if not recognises_text():
        raise UnsupportedFormatError(f"{name}: a picture: {WITHOUT_OCR}")
    from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

    pages: list[PageText] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as file:
                kind = Image.MIME.get(file.format or "", "application/octet-stream")
                frames = getattr(file, "n_frames", 1)
                # The frames of an animation show the same thing again and again.
                several = file.format == "TIFF"
                if frames > _MOST_FRAMES and several:
                    raise UnreadableFileError(f"{name}: {frames:,} pages: split it")
                for frame in ImageSequence.Iterator(file):
                    if frame.width * frame.height > _MOST_PIXELS:
                        raise UnreadableFileError(
                            f"{name}: {frame.width} × {frame.height} pixels: make it smaller"
                        )
                    pages.append(_page(ImageOps.exif_transpose(frame)))
                    if not several:
                        break
    except (
        EOFError,
        Image.DecompressionBombError,
        OSError,
        SyntaxError,
        UnidentifiedImageError,
        ValueError,
    ) as error:
        raise UnreadableFileError(
            f"{name}: not a picture that can be read ({error}): save it again"
        ) from error
    found = flow(pages)
    return Document(
        text=found.text,
        uri=uri,
        title=name,
        media_type=kind,
        blocks=flow_blocks(found, []),
        source_map=flow_map(found, pages),
    )


def _page(picture: Any) -> PageText:  # noqa: ANN401 - follows no types
    on_white = picture.convert("RGBA")
    ground = on_white.copy()
    ground.paste((255, 255, 255, 255), (0, 0, *on_white.size))
    ground.alpha_composite(on_white)
    pixels = np.asarray(ground.convert("RGB"))
    scale = min(_POINTS, _LARGEST / max(picture.size))
    width, height = (side * scale for side in picture.size)
    matrix = np.array([[10 * scale, 0], [0, 10 * scale], [0, 0]])
    found = ocr.read_picture(pixels, matrix, matrix) if min(picture.size) >= _SMALLEST else []
    return PageText(
        [each.piece for each in found],
        [],
        width,
        height,
        np.array([[10.0, 0], [0, -10], [0, 10 * height]]),
        height,
        None,
        {},
        0,
        [each.confidence for each in found],
    )
