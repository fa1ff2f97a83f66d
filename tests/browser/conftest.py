from contextlib import ExitStack
from functools import cache, lru_cache
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


def pytest_collection_modifyitems(items):
    """The tests of one editor come together, since a page that is open paints and takes its part of a processor."""
    ours = [i for i, item in enumerate(items) if Path(__file__).parent in item.path.parents]
    by_editor = sorted((items[i] for i in ours), key=lambda item: list(EDITORS).index(name_of_editor(item)))
    for i, item in zip(ours, by_editor, strict=True):
        items[i] = item


def name_of_editor(item: pytest.Function) -> str:
    return str(item.callspec.params.get("editor") or item.callspec.params["some_editor"])


@pytest.fixture(scope="session")
def comfy_with_newest_frontend():
    with Comfy(["--front-end-root", str(newest_frontend())]) as comfy:
        yield comfy


@cache
def browser():
    if not Path(CHROMIUM).exists():
        pytest.fail(f"The browser's tests need {CHROMIUM}: apt-get install chromium. (./dev test does it for root.)")
    return _running.enter_context(chromium())


@lru_cache(maxsize=1)
def open_editor(name: str, comfy: Comfy) -> Editor:
    """Opens an editor's page in place of any other, or gives back the one that is open."""
    _, vue = EDITORS[name]
    for context in browser().contexts:
        context.close()
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
