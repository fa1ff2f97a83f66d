from functools import cache
from pathlib import Path

import pytest
from pack.tests.browser.editor import CHROMIUM, WINDOW, Editor, chromium
from pack.tests.host.comfy import Comfy
from pack.tests.host.fetch import newest_frontend

# Whether the frontend is the newest or the pinned one, and whether the renderer is Nodes 2.0 or LiteGraph.
EDITORS = {
    "pinned LiteGraph": (False, False),
    "pinned Nodes 2.0": (False, True),
    "newest LiteGraph": (True, False),
    "newest Nodes 2.0": (True, True),
}
# For what a frontend or a renderer might break, but hardly the two of them only together.
CORNERS = {name: EDITORS[name] for name in ("pinned LiteGraph", "newest Nodes 2.0")}


@pytest.fixture(scope="session")
def comfy_with_newest_frontend():
    with Comfy(["--front-end-root", str(newest_frontend())]) as comfy:
        yield comfy


# Not longer than a module: while it is open, Playwright holds this thread's event loop.
@pytest.fixture(scope="module")
def open_editor(request):
    """Opens an editor's page, or gives back the one that is open."""
    if not Path(CHROMIUM).exists():
        pytest.fail(f"The browser's tests need {CHROMIUM}: apt-get install chromium. (./dev test does it for root.)")
    with chromium() as browser:

        @cache
        def open_editor(newest: bool, vue: bool) -> Editor:
            comfy = request.getfixturevalue("comfy_with_newest_frontend" if newest else "comfy")
            (name,) = (name for name, kind in EDITORS.items() if kind == (newest, vue))
            return Editor(name, comfy, browser.new_context(viewport=WINDOW, has_touch=True).new_page(), vue)

        yield open_editor


@pytest.fixture(params=EDITORS.values(), ids=EDITORS)
def editor(request, open_editor):
    """The editor with each frontend and each renderer."""
    return open_editor(*request.param)


@pytest.fixture(params=CORNERS.values(), ids=CORNERS)
def some_editor(request, open_editor):
    """The editor with each frontend and each renderer once."""
    return open_editor(*request.param)
