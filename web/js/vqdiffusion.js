// @ts-check
/** What the pack adds to the editor. The one file with an effect. */

import {
  addWidget,
  choose,
  loadMessages,
  newName,
  onDrop,
  onNotices,
  onOutput,
  recordChange,
  register,
  showBelow,
  toastError,
  toastIfUnseen,
  upload,
  viewUrl,
  visibleNodes,
} from "./comfy.js";
import { make } from "./dom.js";
import { FileDrop } from "./FileDrop.js";
import { InspectorWidget } from "./InspectorWidget.js";
import { ENGLISH } from "./i18n.js";
import { PaintWidget } from "./PaintWidget.js";

/**
 * @typedef {import("../types/comfy.js").ComfyNode} ComfyNode
 * @typedef {import("../types/comfy.js").ServerFile} ServerFile
 * @typedef {{ vq_canvas: [{ grid: [number, number], images: ServerFile[] }] }} PaintOutput  of nodes/inpainting.py
 * @typedef {{ vq_tokens: [import("./tokenInfo.js").Tokens], images: ServerFile[] }} InspectorOutput  of nodes/inspector.py
 */

const PAINTING = "VQ_DIFFUSION_PAINTING"; // as in nodes/inpainting.py
const INSPECTOR = "VQDiffusionTokenInspector";
const IMAGES = "VQDiffusionLoadImages";
const HEIGHT = 300; // pixels, at least
const DROP_HEIGHT = 60;
const LINE = { height: 16, letter: 6.5, margin: 30 }; // pixels of a notice's lines, about

let messages = ENGLISH;

/** @type {WeakMap<ComfyNode, PaintWidget>} */
const painters = new WeakMap();
/** @type {WeakMap<ComfyNode, HTMLElement>} */
const notices = new WeakMap();

register({
  name: "VQDiffusion",
  async init() {
    await adoptStyles();
    messages = await loadMessages();
    onNotices(showNotices);
  },
  getCustomWidgets: () => ({ [PAINTING]: (node, name) => ({ widget: addPainter(node, name) }) }),
  nodeCreated(node) {
    if (node.comfyClass === INSPECTOR) addViewer(node);
    if (node.comfyClass === IMAGES) addFileDrop(node);
  },
  commands: [{ id: "VQDiffusion.Paint", label: ENGLISH.paintCommand, icon: "pi pi-pencil", function: paint }],
  keybindings: [{ commandId: "VQDiffusion.Paint", combo: { key: "p", alt: true } }],
});

/** Takes in the pack's own rules without an element in the page that all packs share. */
async function adoptStyles() {
  const styles = new CSSStyleSheet();
  const answer = await fetch(new URL("../css/vqdiffusion.css", import.meta.url));
  document.adoptedStyleSheets.push(await styles.replace(await answer.text()));
}

/** @type {(node: ComfyNode, name: string) => import("../types/comfy.js").Widget} */
function addPainter(node, name) {
  const painter = new PaintWidget(messages, recordChange);
  painters.set(node, painter);
  onOutput(node, painter.element, (/** @type {PaintOutput} */ { vq_canvas: [{ grid, images }] }) => {
    painter.show({ grid, image: images.length ? viewUrl(images[0]) : null });
  });
  return addWidget(node, name, painter.element, {
    getValue: () => painter.text,
    setValue: (text) => (painter.text = text),
    getMinHeight: () => HEIGHT,
  });
}

/** @param {ComfyNode} node */
function addViewer(node) {
  const viewer = new InspectorWidget(messages);
  onOutput(node, viewer.element, (/** @type {InspectorOutput} */ { vq_tokens: [tokens], images }) => {
    const files = tokens.frames ?? images.slice(0, 1);
    viewer.show(tokens, files.map(viewUrl));
  });
  const widget = addWidget(node, "run", viewer.element, { getMinHeight: () => HEIGHT });
  widget.serialize = false; // nothing of it is the workflow's
}

/** Lets a node take image files, into a new folder that it then opens. @param {ComfyNode} node */
function addFileDrop(node) {
  const drop = new FileDrop(messages.dropImages, async (files) => {
    const folder = newName(node, "folder", "drawings");
    try {
      await upload(files, folder);
      choose(node, "folder", folder);
    } catch (error) {
      toastError(node, `${error}`);
    }
  });
  onDrop(node, (files) => drop.accept(files));
  const options = { getMinHeight: () => DROP_HEIGHT, getMaxHeight: () => DROP_HEIGHT, serialize: false };
  addWidget(node, "drop", drop.element, options).serialize = false;
}

/** Says on a node what its run has left out or changed. @param {ComfyNode} node @param {string[]} lines */
function showNotices(node, lines) {
  const element = notices.get(node) ?? make("p", { class: "vqd-notice", role: "status" });
  notices.set(node, element);
  element.textContent = lines.join("\n");
  showBelow(node, element, () => {
    const letters = Math.max(1, (node.size[0] - LINE.margin) / LINE.letter);
    const rows = element.textContent?.split("\n").reduce((sum, line) => sum + Math.ceil(line.length / letters), 0);
    return rows ? rows * LINE.height + LINE.margin : 0;
  });
  toastIfUnseen(node, element);
}

/** Brings the keyboard to the canvas of the selected node, or of the first there is. */
function paint() {
  const node = visibleNodes().find((candidate) => painters.has(candidate));
  if (node) painters.get(node)?.focus();
}
