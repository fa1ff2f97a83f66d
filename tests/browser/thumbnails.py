"""Makes the pictures of the example workflows in the template browser out of the screenshots that test_shipped.py took:
.venv/bin/python -m tests.browser.thumbnails
"""

from PIL import Image

from ..host.fetch import CHECKOUT

SCREENSHOTS = CHECKOUT / ".cache" / "screenshots"
WIDTH = 640  # pixels


def main() -> None:
    for path in sorted((CHECKOUT / "example_workflows").glob("*.json")):
        with Image.open(SCREENSHOTS / f"{path.stem}, pinned LiteGraph.png") as screenshot:
            thumbnail = screenshot.convert("RGB")
        thumbnail.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        thumbnail.save(path.with_suffix(".jpg"), quality=85, optimize=True)
        print(f"{path.with_suffix('.jpg').name}: {thumbnail.width} x {thumbnail.height}")


if __name__ == "__main__":
    main()
