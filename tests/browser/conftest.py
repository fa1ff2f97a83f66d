from contextlib import ExitStack
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

_running = ExitStack()


@pytest.fixture(scope="session")
def comfy_with_newest_frontend():
    with Comfy(["--front-end-root", str(newest_frontend())]) as comfy:
        yield comfy


@cache
def browser():
    if not Path(CHROMIUM).exists():
        pytest.fail(f"The browser's tests need {CHROMIUM}: apt-get install chromium. (./dev test does it for root.)")
    return _running.enter_context(chromium())


@cache
def open_editor(name: str, comfy: Comfy) -> Editor:
    """Opens an editor's page, or gives back the one that is open."""
    _, vue = EDITORS[name]
    return Editor(name, comfy, browser().new_context(viewport=WINDOW, has_touch=True).new_page(), vue)


@pytest.hookimpl(trylast=True)  # after the fixtures, which may still want it
def pytest_runtest_teardown(nextitem):
    """Closes the browser after the last test here: while it is open, Playwright holds this thread's event loop."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        _running.close()
        browser.cache_clear()
        open_editor.cache_clear()


def editor_of(request) -> Editor:
    newest, _ = EDITORS[request.param]
    return open_editor(request.param, request.getfixturevalue("comfy_with_newest_frontend" if newest else "comfy"))


@pytest.fixture(params=EDITORS)
def editor(request):
    """The editor with each frontend and each renderer."""
    return editor_of(request)


@pytest.fixture(params=CORNERS)
def some_editor(request):
    """The editor with each frontend and each renderer once."""
    return editor_of(request)
