"""ComfyUI's editor in a real Chromium, as a person meets it: open a workflow, press Run, look, paint.

Nothing here waits for a time: each step waits for what it needs to be there, and PATIENCE is only how long it does so
before it gives up.
"""

import base64
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import requests
from PIL import Image
from playwright.sync_api import Locator, Page, Playwright, expect, sync_playwright

from ..host.comfy import Comfy
from ..host.fetch import CHECKOUT

CHROMIUM = "/usr/bin/chromium"
AXE = CHECKOUT / ".cache" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WINDOW = {"width": 1600, "height": 1000}
EMPTY = {"version": 0.4, "nodes": [], "links": [], "groups": [], "last_node_id": 0, "last_link_id": 0}
PATIENCE = 120_000  # milliseconds

# The editor has started, and with the workflow that it opens by itself: nothing comes later and takes its place.
READY = """() => {
    const editor = window.app?.extensionManager;
    return !!editor?.workflow?.activeWorkflow && !editor.spinner
        && !!LiteGraph.registered_node_types.VQDiffusionTokenMask;
}"""
# Nodes, widgets and the mask editor lie where they lay two frames ago, and nothing on the page is on its way.
AT_REST = """async () => {
    const parts = "[data-node-id], .vqd-widget, .vqd-widget canvas, #maskEditorCanvasContainer";
    const boxOf = part => part.getBoundingClientRect();
    const places = () => JSON.stringify([...document.querySelectorAll(parts)].map(boxOf));
    const isMoving = animation => animation.playState === "running"
        && animation.effect?.getComputedTiming().endTime !== Infinity;
    for (let before = "", same = 0; same < 2;) {
        await new Promise(requestAnimationFrame);
        const now = places();
        same = now === before && !document.getAnimations().some(isMoving) ? same + 1 : 0;
        before = now;
    }
}"""
# axe-core knows elements and no pixels. So what lies over the widgets as an empty box is hidden from it, the colour
# that LiteGraph has painted behind them told, and letters stand for icons, which are no text.
AUDIT = """async behind => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`
        body *:not(:has(.vqd-widget), .vqd-widget, .vqd-widget *) { visibility: hidden !important }
        .dom-widget { background: ${behind} }`);
    document.adoptedStyleSheets.push(sheet);
    for (const icon of document.querySelectorAll(".vqd-widget button svg")) icon.replaceWith("Aa");
    const options = { rules: { "label-content-name-mismatch": { enabled: false } } };  // "Aa" is no button's name
    const { violations, incomplete } = await axe.run([".vqd-widget"], options);
    document.adoptedStyleSheets.pop();
    const isDigit = node => node.any.some(check => check.data?.messageKey === "shortTextContent");
    return [...violations, ...incomplete].flatMap(({ id, nodes }) => nodes.filter(node => !isDigit(node))
        .map(({ html, any, none }) => `${id}: ${html} ${[...any, ...none].map(check => check.message)}`));
}"""

expect.set_options(timeout=PATIENCE)

T = TypeVar("T")

# What the editors say by themselves on this host: files of the user that are not there, addresses outside, what a newer
# frontend asks of a newer server, and the pinned one's search for nodes whenever one is chosen.
HOST_COMPLAINTS = (
    "Failed to load resource",
    "Content Security Policy",
    "Fetch API cannot load",
    "Jobs API",
    "JobsApi",
    "Proxy.onOptionSelect",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


def launch(playwright: Playwright):
    return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


def background(part: Locator) -> str:
    """The most frequent colour of a part of the page, as CSS has it."""
    image = Image.open(io.BytesIO(part.screenshot())).convert("RGB")
    _, colour = max(image.getcolors(image.width * image.height))
    return f"rgb{colour}"


class Editor:
    """A page of the editor. `vue` is its renderer: Nodes 2.0, or else LiteGraph. `name` is for people."""

    def __init__(self, name: str, comfy: Comfy, page: Page, vue: bool):
        self.comfy, self.page, self.vue = comfy, page, vue
        self.name = name
        self.complaints: list[str] = []
        page.on("console", lambda message: self._hear(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self._hear(f"{error}\n{error.stack}"))
        page.set_default_timeout(PATIENCE)
        self.visit()

    @property
    def forgets_translations(self) -> bool:
        """Frontend 1.32.9 drops what packs translate once it has loaded its own words of the language."""
        return self.page.evaluate("window.__COMFYUI_FRONTEND_VERSION__") == "1.32.9"

    def visit(self, query: str = "", **settings: Any) -> None:
        """Opens the editor's page anew, with these settings of the user."""
        self._set(settings)
        self.page.goto(self.comfy.url + query)
        self._start()
        self.complaints.clear()

    def reload(self) -> None:
        """As F5 does: the workflow comes back from what the browser has kept, which newer editors do with a delay."""
        self._set({})
        self.page.wait_for_function(
            """() => {
                const plain = text => text.replaceAll("\\\\", "");
                const kept = Object.entries({ ...localStorage, ...sessionStorage })
                    .filter(([name]) => /workflow/i.test(name)).map(([, value]) => plain(value)).join();
                const values = app.graph.serialize().nodes.flatMap(node => node.widgets_values ?? []);
                return values.every(value => kept.includes(plain(JSON.stringify(value ?? null))));
            }"""
        )
        self.page.reload()
        self._start()

    def open(self, workflow: dict) -> None:
        """Opens a workflow as the editor has saved it."""
        self.page.evaluate("async workflow => { await app.loadGraphData(workflow) }", workflow)
        self.come_to_rest()

    def open_api(self, prompt: dict) -> None:
        """Opens a workflow in API form."""
        # Twice, because Nodes 2.0 does not notice where the first call has put the nodes.
        self.page.evaluate(
            """async prompt => {
                await app.loadApiJson(prompt, "test");
                await app.loadGraphData(app.graph.serialize());
            }""",
            prompt,
        )
        self.come_to_rest()

    def drop(self, path: Path) -> None:
        """Drops an image file on the canvas, and waits until its workflow is there."""
        self.page.evaluate(
            """([name, data]) => {
                const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
                const dropped = new DataTransfer();
                dropped.items.add(new File([bytes], name, { type: "image/png" }));
                app.canvasEl.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));
            }""",
            [path.name, base64.b64encode(path.read_bytes()).decode()],
        )
        self.page.wait_for_function("app.graph.nodes.length > 0")
        self.come_to_rest()

    def run(self) -> None:
        """A click on Run, and the end of the run. Raises AssertionError if it fails."""
        with self._running():
            self.page.get_by_test_id("queue-button").first.click()

    def run_by_keyboard(self) -> None:
        with self._running():
            self.page.keyboard.press("Control+Enter")

    def serialized(self) -> dict:
        """What the editor would save now."""
        return self.page.evaluate("app.graph.serialize()")

    def show(self, node_type: str, scale: float = 1) -> None:
        """Moves the view to the first node of this type."""
        self.page.evaluate(
            """([type, scale]) => {
                const node = app.graph.nodes.find(node => node.type === type);
                app.canvas.ds.scale = scale;
                app.canvas.centerOnNode(node);
                app.canvas.setDirty(true, true);
            }""",
            [node_type, scale],
        )
        self.come_to_rest()

    def shown_images(self) -> list[Image.Image]:
        """The images of all nodes that show some, fetched as the editor does."""
        files = self.page.evaluate(
            """app.graph.nodes.flatMap(node => ["SaveImage", "PreviewImage"].includes(node.type)
                ? app.nodeOutputs[node.id]?.images ?? [] : [])"""
        )
        return [Image.open(io.BytesIO(self._view(**file))) for file in files]

    def silent_nodes(self) -> list[str]:
        """The titles of nodes that should show an image or a text on the page and do not, however long one waits."""
        return self.page.evaluate(
            """async ([vue, patience]) => {
                const images = node => vue ? document.querySelectorAll(`[data-node-id="${node.id}"] img`) : node.imgs;
                const isShown = node => node.type === "PreviewAny"
                    ? node.widgets.some(widget => widget.value)
                    : [...images(node) ?? []].some(img => img.complete && img.naturalWidth);
                const types = ["SaveImage", "PreviewImage", "PreviewAny"];
                let silent = app.graph.nodes.filter(node => types.includes(node.type));
                if (silent.length === 0) return ["none of the nodes shows anything"];
                const begin = performance.now();
                for (let asked = begin; performance.now() < begin + patience && silent.length;) {
                    silent = silent.filter(node => !isShown(node));
                    if (performance.now() > asked + 20_000) {  // LiteGraph's nodes give up on an image after 16 s
                        for (const node of silent) node.images = undefined;
                        asked = performance.now();
                    }
                    app.canvas.setDirty(true, true);
                    await new Promise(requestAnimationFrame);
                }
                return silent.map(node => node.title);
            }""",
            [self.vue, PATIENCE],
        )

    def new(self, node_type: str) -> None:
        """An empty workflow with one new node, in sight."""
        self.open(EMPTY)
        self.page.evaluate(
            """type => {
                const node = LiteGraph.createNode(type);
                node.pos = [100, 100];
                app.graph.add(node);
            }""",
            node_type,
        )
        self.show(node_type)

    def add_by_search(self, name: str) -> None:
        """What the search for nodes, the name and Enter bring."""
        self.page.evaluate("app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
        field = self.page.locator("input[role=combobox]:focus")
        field.fill(name)
        self.page.get_by_role("option").filter(has_text=name).first.wait_for()
        count = self.page.evaluate("app.graph.nodes.length")
        field.press("Enter")
        self.page.wait_for_function("count => app.graph.nodes.length > count", arg=count)
        self.page.mouse.click(WINDOW["width"] / 2, WINDOW["height"] / 2)  # newer editors hang it on the pointer first

    def titles(self) -> list[str]:
        return self.page.evaluate("app.graph.nodes.map(node => node.title)")

    def labels(self) -> dict[str, str]:
        """What the inputs of the first node are called, by name."""
        return self.page.evaluate(
            """Object.fromEntries(app.graph.nodes[0].inputs.map(input =>
                [input.name, input.label ?? input.localized_name ?? input.name]))"""
        )

    def open_templates(self) -> None:
        self.page.locator(".templates-tab-button").click()

    def show_template(self, name: str, width: int) -> None:
        """Brings a template into sight, until its image of this width is there: it is loaded when in sight."""
        self.page.wait_for_function(
            """async ([name, width]) => {
                const titles = [...document.querySelectorAll("h1, h2, h3, h4")];
                const title = titles.find(title => title.textContent.trim() === name);
                title?.scrollIntoView({ block: "center" });
                const isThere = () => [...document.images].some(image =>
                    image.alt === name && image.naturalWidth === width);
                for (let frame = 0; title && frame < 100 && !isThere(); frame++)
                    await new Promise(requestAnimationFrame);
                if (isThere()) return true;
                // Out of sight and back: if a busy page tells frontend 1.32.9 both at once, that an image was out of
                // sight and that it is in sight, it heeds the first alone and never loads the image.
                const dialog = title?.closest("[role=dialog]");
                dialog?.style.setProperty("display", "none");
                for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
                dialog?.style.removeProperty("display");
                return false;
            }""",
            arg=[name, width],
        )

    def open_help(self, node_type: str) -> Locator:
        """The help of a node, by a click on its info button."""
        self.new(node_type)
        self.page.evaluate("app.canvas.selectItems([app.graph.nodes[0]])")
        self.page.get_by_test_id("info-button").first.click()
        return self.page.locator(".node-help-content")

    def screenshot(self, path: Path) -> None:
        """Photographs the whole workflow, and nothing of the editor around it."""
        clip = self.page.evaluate(
            """() => {
                const boxes = [...app.graph.nodes, ...app.graph.groups].map(item => item.boundingRect);
                const left = Math.min(...boxes.map(box => box[0])), top = Math.min(...boxes.map(box => box[1]));
                const width = Math.max(...boxes.map(box => box[0] + box[2])) - left;
                const height = Math.max(...boxes.map(box => box[1] + box[3])) - top;
                const scale = Math.min((window.innerWidth - 100) / width, (window.innerHeight - 150) / height, 1);
                app.canvas.ds.scale = scale;
                app.canvas.ds.offset = [80 / scale - left, 120 / scale - top];
                app.canvas.deselectAll();
                app.canvas.setDirty(true, true);
                return { x: 70, y: 110, width: width * scale + 20, height: height * scale + 20 };
            }"""
        )
        self.come_to_rest()
        self.page.screenshot(path=path, clip=clip)

    def photograph(self, ids: list[str], path: Path) -> None:
        """Photographs these nodes side by side, and nothing else."""
        clip = self.page.evaluate(
            """ids => {
                const nodes = ids.map(id => app.graph.getNodeById(id));
                const top = Math.max(...app.graph.nodes.map(node => node.pos[1] + node.size[1])) + 2000;
                let x = 0;
                for (const node of nodes) {
                    const [width, height] = node.type === "PreviewImage" ? [230, 270] : [240, 0];
                    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
                    node.pos = [x, top];
                    x += node.size[0] + 30;
                }
                app.canvas.ds.scale = 1;
                app.canvas.ds.offset = [100, 160 - top];
                app.canvas.links_render_mode = LiteGraph.HIDDEN_LINK;
                app.canvas.deselectAll();
                app.canvas.setDirty(true, true);
                const height = Math.max(...nodes.map(node => node.size[1]));
                return { x: 90, y: 120, width: x - 10, height: height + 50 };
            }""",
            ids,
        )
        self.come_to_rest()
        self.page.screenshot(path=path, clip=clip)

    def missing(self) -> list[str]:
        """The types of nodes that the editor does not know."""
        types = self.page.evaluate("app.graph.nodes.map(node => node.type)")
        return [name for name in types if not self.page.evaluate("t => !!LiteGraph.registered_node_types[t]", name)]

    def canvas(self) -> Locator:
        """Where one paints."""
        return self.page.locator(".vqd-canvas canvas").first

    def at(self, column: float, row: float, grid: tuple[int, int] = (12, 12)) -> tuple[float, float]:
        """The page's coordinates of the middle of a token."""
        box = self.canvas().bounding_box()
        assert box, "the canvas is not to be seen"
        columns, rows = grid
        cell = min(box["width"] / columns, box["height"] / rows)
        left, top = box["x"] + (box["width"] - columns * cell) / 2, box["y"] + (box["height"] - rows * cell) / 2
        return left + (column + 0.5) * cell, top + (row + 0.5) * cell

    def drag(self, *cells: tuple[int, int], **mouse: Any) -> None:
        """Presses the mouse on the first token, moves over the others, and lets go."""
        first, *others = (self.at(*cell) for cell in cells)
        self.page.mouse.move(*first)
        self.page.mouse.down(**mouse)
        for place in others:
            self.page.mouse.move(*place, steps=8)
        self.page.mouse.up(**mouse)

    def swipe(self, *cells: tuple[int, int]) -> None:
        """The same with a finger."""
        touch = self.page.context.new_cdp_session(self.page)
        places = [dict(zip("xy", self.at(*cell), strict=True)) for cell in cells]
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": places[:1]})
        for place in places[1:]:
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def mask_in_the_core_editor(self, across: float, down: float) -> Image.Image:
        """Opens the first LoadImage in ComfyUI's own mask editor, dabs its brush once at this share of the image, and
        saves. Returns the image that LoadImage has then: what is masked is transparent."""
        load = "app.graph.nodes.find(node => node.type === 'LoadImage')"
        self.page.wait_for_function(f"{load}.imgs?.[0]?.naturalWidth > 0")
        before = self.page.evaluate(f"{load}.widgets[0].value")
        self.page.evaluate(
            f"""() => {{
                app.canvas.selectItems([{load}]);
                app.extensionManager.command.execute("Comfy.MaskEditor.OpenMaskEditor");
            }}"""
        )
        layers = self.page.locator("#maskEditorCanvasContainer")
        self.page.locator("#maskEditor_brush").wait_for(state="attached")  # the last thing that the mask editor makes
        self.come_to_rest()
        box = layers.bounding_box()
        assert box
        self.page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        contents = "[...document.querySelectorAll('#maskEditorCanvasContainer canvas')].map(c => c.toDataURL()).join()"
        clean = self.page.evaluate(contents)
        self.page.mouse.down()
        self.page.mouse.up()
        self.page.wait_for_function(f"clean => {contents} !== clean", arg=clean)
        self.page.get_by_role("dialog").get_by_role("button", name="Save").click()
        self.page.wait_for_function(f"before => {load}.widgets[0].value !== before", arg=before)
        layers.wait_for(state="detached")
        name, kind = self.page.evaluate(f"{load}.widgets[0].value").removesuffix("]").split(" [")
        folder, _, file = name.rpartition("/")
        return Image.open(io.BytesIO(self._view(filename=file, subfolder=folder, type=kind)))

    def tool(self, name: str) -> Locator:
        return self.page.locator(f'.vqd-tools button[title^="{name}"]').first

    def status(self) -> Locator:
        """The line under the canvas."""
        return self.page.locator(".vqd-status").first

    def says(self, words: str | re.Pattern[str]) -> None:
        """Waits until the line under the canvas contains these words."""
        expect(self.status()).to_contain_text(words, use_inner_text=True)

    def says_just(self, words: str) -> None:
        """Waits until the line under the canvas is this."""
        expect(self.status()).to_have_text(words, use_inner_text=True)

    def accessibility_violations(self) -> list[str]:
        """What breaks or may break the Web Content Accessibility Guidelines in our widgets, as axe-core finds it."""
        self.page.evaluate(AXE.read_text())
        behind = "none" if self.vue else background(self.status())
        return self.page.evaluate(AUDIT, behind)

    def until(self, read: Callable[[], T], holds: Callable[[T], bool]) -> T:
        """What `read` gives as soon as that holds; it is read again after every change."""
        begin = time.monotonic()
        while not holds(value := read()):
            assert time.monotonic() < begin + PATIENCE / 1000, value
            self.come_to_rest()
        return value

    def canvas_colours(self) -> list[Any]:
        """The colours of the pixels on the canvas."""
        image = Image.open(io.BytesIO(self.canvas().screenshot())).convert("RGB")
        return [colour for _, colour in image.getcolors(maxcolors=image.width * image.height)]

    def resize(self, node_type: str, size: tuple[int, int]) -> None:
        self.page.evaluate(
            "([type, size]) => app.graph.nodes.find(node => node.type === type).setSize(size)", [node_type, size]
        )
        self.come_to_rest()

    def undo_of_the_editor(self) -> None:
        """Ctrl+Z on the editor's own canvas."""
        self.page.evaluate("document.activeElement.blur()")
        tracker = "app.extensionManager.workflow.activeWorkflow.changeTracker"
        state = "JSON.stringify(app.graph.serialize())"
        before = self.page.evaluate(state)
        self.page.keyboard.press("Control+z")
        self.page.wait_for_function(f"before => !{tracker}._restoringState && {state} !== before", arg=before)
        self.come_to_rest()

    def painted(self) -> str:
        """What the workflow holds of the first painting."""
        return self.paintings()[0]

    def paintings(self) -> list[str]:
        nodes = self.serialized()["nodes"]
        return [node["widgets_values"][1] for node in nodes if node["type"] == "VQDiffusionTokenMask"]

    @contextmanager
    def _running(self) -> Iterator[None]:
        self.page.evaluate(
            """() => { window.ended = new Promise(resolve => {
                for (const kind of ["execution_success", "execution_error", "execution_interrupted"]) {
                    app.api.addEventListener(kind, event => resolve([kind, event.detail]), { once: true });
                }
            }) }"""
        )
        yield
        kind, detail = self.page.evaluate("window.ended")
        assert kind == "execution_success", json.dumps(detail, indent=1)
        self.come_to_rest()

    def come_to_rest(self) -> None:
        """Waits until the page shows what has changed: widgets follow the view some frames later, dialogs fade in."""
        self.page.evaluate(AT_REST)

    def _set(self, settings: dict[str, Any]) -> None:
        """Puts these settings on the server, whose pages share them: each page keeps those that it has begun with."""
        usual = {
            "Comfy.TutorialCompleted": True,
            "Comfy.VueNodes.Enabled": self.vue,
            "Comfy.Locale": "en",
            "Comfy.ColorPalette": "dark",
            "Comfy.Minimap.Visible": False,
        }
        requests.post(f"{self.comfy.url}/settings", json=usual | settings, timeout=PATIENCE / 1000).raise_for_status()

    def _start(self) -> None:
        self.page.wait_for_function(READY)
        self.come_to_rest()

    def _view(self, **file: str) -> bytes:
        answer = requests.get(f"{self.comfy.url}/view", params=file, timeout=300)
        answer.raise_for_status()
        return answer.content

    def _hear(self, complaint: str) -> None:
        if not any(words in complaint for words in HOST_COMPLAINTS):
            self.complaints.append(complaint)
