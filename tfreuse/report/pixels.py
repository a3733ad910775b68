"""Pictures inside a page: as WebP, which has all pixels of a PNG in three quarters of its bytes."""

import base64
import functools
import io
import re

_PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")


@functools.lru_cache(16)
def address(png: bytes) -> str:
    """Returns a picture as a data: URL."""
    from PIL import Image  # a report without pictures needs none of it

    data = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(data, "webp", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"


def shortened(markup: str) -> str:
    """Returns a drawing, or an address, with its PNG pictures as WebP."""
    return _PNG.sub(lambda match: address(base64.b64decode(match[1])), markup)
