"""Pictures inside a page: as WebP, which has all pixels of a PNG in three quarters of its bytes."""

import base64
import functools
import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")


@functools.lru_cache(16)
def address(png: bytes) -> str:
    """Returns a picture as a data: URL."""
    from PIL import Image  # a report without pictures needs none of it

    with Image.open(io.BytesIO(png)) as image:
        pixels = image.convert("RGB")
    # More effort is no surer way to fewer bytes: plots and photos have each their own best.
    data = min((_webp(pixels, effort) for effort in (50, 80)), key=len)
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def _webp(pixels: "Image.Image", effort: int) -> bytes:
    data = io.BytesIO()
    pixels.save(data, "webp", lossless=True, quality=effort)
    return data.getvalue()


def shortened(markup: str) -> str:
    """Returns a drawing, or an address, with its PNG pictures as WebP."""
    return _PNG.sub(lambda match: address(base64.b64decode(match[1])), markup)
