"""The icon sets that objects are cut from: packages of the npm registry, fetched once and kept in a folder.

Nothing of them is part of this pack: they are read when images are made for training or judging.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REGISTRY = "https://registry.npmjs.org"
PIXELS = 192  # that an icon is rasterised at, more than it has in any image


@dataclass(frozen=True)
class Package:
    """A version of a package of Iconify's: one JSON file of SVG drawings by name."""

    name: str
    version: str
    sha256: str
    licence: str
    credit: str

    @property
    def file(self) -> str:
        return f"{self.name.rpartition('/')[2]}-{self.version}.tgz"

    @property
    def url(self) -> str:
        return f"{REGISTRY}/{self.name}/-/{self.file}"


PACKAGES = {
    "3D": Package(
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        "MIT",
        "Fluent Emoji, (c) Microsoft Corporation",
    ),
    "flat": Package(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        "MIT",
        "Fluent Emoji, (c) Microsoft Corporation",
    ),
    "noto": Package(
        "@iconify-json/noto",
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "Apache-2.0",
        "Noto Emoji, (c) Google LLC",
    ),
    "twemoji": Package(
        "@iconify-json/twemoji",
        "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        "CC-BY-4.0",
        "Twemoji, (c) Twitter, Inc. and other contributors",
    ),
}


def default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vqdiffusion" / "icons"


def fetch(package: Package, cache: Path) -> Path:
    """The package's file in the cache, downloaded where it is not there yet. Raises ValueError, naming the file, where
    it is not the one that is expected, and OSError where it cannot be had.
    """
    path = cache / package.file
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            download(package.url, unfinished)
            check(unfinished, package.sha256, "try again")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    check(path, package.sha256, "delete it to have it fetched anew")
    return path


def download(url: str, path: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except OSError as error:
        raise OSError(f"{url} cannot be fetched: {error}. The world's objects are cut from it.") from error


def check(path: Path, sha256: str, remedy: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} is damaged or cut short, at {path.stat().st_size:,} bytes: its SHA-256 begins with {found[:8]}, "
            f"expected {sha256[:8]}; {remedy}."
        )


def read_icons(path: Path, names: Iterable[str]) -> dict[str, str]:
    """The icons of those names as SVG documents. Raises ValueError where the set has no icon of a name."""
    with tarfile.open(path) as package:
        listing = package.extractfile("package/icons.json")
        assert listing is not None
        icons = json.load(listing)
    try:
        return {name: to_svg(icons, name) for name in names}
    except KeyError as error:
        raise ValueError(f"{path} has no icon {error}.") from None


def to_svg(icons: dict[str, Any], name: str) -> str:
    """One icon of Iconify's JSON, or what its alias stands for, as a document."""
    while name in icons.get("aliases", {}):
        name = icons["aliases"][name]["parent"]
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {namespaces} viewBox="0 0 {width} {height}">{icon["body"]}</svg>'


class Icons:
    """The icons of all sets, cut to what is drawn; rasterised when they are first asked for, and kept in the cache."""

    def __init__(self, names: Iterable[str], cache: Path | None = None):
        self.names = tuple(names)
        self.cache = cache or default_cache()
        self.documents = lru_cache(maxsize=None)(self.read)

    def __reduce__(self) -> tuple[type[Icons], tuple[tuple[str, ...], Path]]:
        return Icons, (self.names, self.cache)  # to other processes, without what is kept

    def read(self, icon_set: str) -> dict[str, str]:
        return read_icons(fetch(PACKAGES[icon_set], self.cache), self.names)

    def image(self, icon_set: str, name: str) -> Image.Image:
        """RGBA, up to 192 pixels wide and high."""
        path = self.cache / f"{PACKAGES[icon_set].file.removesuffix('.tgz')}-{PIXELS}px" / f"{name}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
            cut(rasterise(self.documents(icon_set)[name], PIXELS)).save(unfinished, "png")
            unfinished.replace(path)
        return Image.open(path).convert("RGBA")


def cut(drawn: Image.Image) -> Image.Image:
    """Without its empty margins."""
    return drawn.crop(solid(drawn, 16).getbbox())


def solid(drawn: Image.Image, above: int) -> Image.Image:
    """A mask of where the alpha, 0..255, is higher."""
    return Image.fromarray(np.where(np.asarray(drawn.getchannel("A")) > above, 255, 0).astype(np.uint8))


def rasterise(svg: str, pixels: int) -> Image.Image:
    """A document as RGBA, `pixels` wide."""
    try:
        import resvg_py  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            "The world's objects are drawn with resvg-py, which is not installed: pip install resvg-py"
        ) from None
    png = resvg_py.svg_to_bytes(svg_string=svg, width=pixels, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")
