// @ts-check
/**
 * The one file that knows the editor: its app, its server, its nodes.
 *
 * @typedef {import("../types/comfy.js").ComfyNode} ComfyNode
 * @typedef {import("../types/comfy.js").ComfyExtension} ComfyExtension
 * @typedef {import("../types/comfy.js").WidgetOptions} WidgetOptions
 * @typedef {import("../types/comfy.js").ServerFile} ServerFile
 */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

import { ENGLISH } from "./i18n.js";

/** @param {ComfyExtension} extension */
export function register(extension) {
  app.registerExtension(extension);
}

/** What the widgets say, in the editor's language. @returns {Promise<import("./i18n.js").Messages>} */
export async function loadMessages() {
  const answer = await api.fetchApi("/i18n");
  const language = app.extensionManager.setting.get("Comfy.Locale") ?? "en";
  const translations = answer.ok ? await answer.json() : {};
  return { ...ENGLISH, ...translations[language]?.vqDiffusion };
}

/** A widget that is an element of the page, in both of the editor's renderers.
 * @param {ComfyNode} node @param {string} name @param {HTMLElement} element @param {WidgetOptions} options */
export function addWidget(node, name, element, options) {
  passToCanvas(element);
  return node.addDOMWidget(name, "vq-diffusion", element, options);
}

/** @type {WeakMap<HTMLElement, import("../types/comfy.js").Widget>} */
const shown = new WeakMap();

/** Shows an element below all that a node has, or takes it away again where its height is 0.
 * @param {ComfyNode} node @param {HTMLElement} element @param {() => number} getHeight  pixels */
export function showBelow(node, element, getHeight) {
  const last = shown.get(element);
  if (last && node.widgets?.includes(last)) {
    if (getHeight() === 0) node.removeWidget(last);
  } else if (getHeight() > 0) {
    // Neither saved in the workflow nor sent with it: it would make the node run again.
    const options = { getMinHeight: getHeight, getMaxHeight: getHeight, serialize: false };
    const widget = addWidget(node, "notice", element, options);
    widget.serialize = false;
    shown.set(element, widget);
  }
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
}

/** Hands what is dropped on a node outside of its widgets to `accept`, which says whether that was anything.
 * @param {ComfyNode} node @param {(files: FileList | undefined) => boolean} accept */
export function onDrop(node, accept) {
  node.onDragOver = (event) => [...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file");
  node.onDragDrop = (event) => accept(event.dataTransfer?.files);
}

/** Puts files into a folder of ComfyUI's input. Throws Error for what the server does not take.
 * @param {File[]} files @param {string} folder */
export async function upload(files, folder) {
  for (const file of files) {
    const body = new FormData();
    body.append("image", file);
    body.append("subfolder", folder);
    const answer = await api.fetchApi("/upload/image", { method: "POST", body });
    if (!answer.ok) throw new Error(`${file.name}: ${answer.status} ${answer.statusText}`);
  }
}

/** The menu of a node. @param {ComfyNode} node @param {string} name */
function menuOf(node, name) {
  return /** @type {import("../types/comfy.js").Menu} */ (node.widgets?.find((widget) => widget.name === name));
}

/** A name that a menu does not have yet: "drawings 1", or a higher number.
 * @param {ComfyNode} node @param {string} menu @param {string} name */
export function newName(node, menu, name) {
  const { values } = menuOf(node, menu).options;
  const count = values.length + 1; // one of so many is new
  return Array.from({ length: count }, (_, i) => `${name} ${i + 1}`).find((each) => !values.includes(each)) ?? name;
}

/** Adds a line to a menu and chooses it. @param {ComfyNode} node @param {string} menu @param {string} value */
export function choose(node, menu, value) {
  const widget = menuOf(node, menu);
  if (!widget.options.values.includes(value)) widget.options.values.push(value);
  widget.value = value;
  recordChange();
}

/** Says in a corner of the editor what went wrong. @param {ComfyNode} node @param {string} detail */
export function toastError({ title: summary }, detail) {
  app.extensionManager.toast.add({ severity: "error", summary, detail, life: READ });
}

const DRAWN = 500; // milliseconds until the editor has drawn what is new
const READ = 15_000; // milliseconds that a message stays in the corner

/** Says in a corner of the editor what an element says, if that is not to be seen: its node may be out of sight or in a
 * subgraph, and not every renderer looks for new widgets.
 * @param {ComfyNode} node @param {HTMLElement} element */
export function toastIfUnseen(node, element) {
  setTimeout(() => {
    const { title: summary } = node;
    const { textContent: detail } = element;
    if (!detail || element.getClientRects().length) return;
    app.extensionManager.toast.add({ severity: "warn", summary, detail, life: READ });
  }, DRAWN);
}

/**
 * Calls `receive` with what the node's last run gave to the editor, whenever there is something new: after a run, and
 * when the node comes back by undo or from another tab.
 * @template {object} Output  as the node in Python sends it
 * @param {ComfyNode} node
 * @param {HTMLElement} element  the node's widget
 * @param {(output: Output) => void} receive
 */
export function onOutput(node, element, receive) {
  /** @type {object | null} */
  let last = null;
  /** @param {object} output */
  const pass = (output) => {
    last = output;
    receive(/** @type {Output} */ (output));
  };
  const look = () => {
    const output = app.nodeOutputs[locator(node)];
    if (output && output !== last) pass(output);
  };
  const onExecuted = node.onExecuted;
  node.onExecuted = function (output) {
    onExecuted?.call(this, output);
    pass(output);
  };
  element.addEventListener("pointerenter", look);
  element.addEventListener("focusin", look);
  const onConfigure = node.onConfigure;
  node.onConfigure = function (...data) {
    onConfigure?.apply(this, data);
    setTimeout(look);
  };
}

const NOTICE = "vqdiffusion.notice"; // as in nodes/runtime.py

/**
 * Calls `show` with all that a node has said of its run: nothing when a run of it begins, and again with each notice.
 * @param {(node: ComfyNode, lines: string[]) => void} show
 */
export function onNotices(show) {
  /** @type {WeakMap<ComfyNode, string[]>} */
  const said = new WeakMap();
  /** @param {string} place @param {(before: string[]) => string[]} change */
  const change = (place, change) => {
    const node = nodeAt(place);
    if (!node) return;
    const before = said.get(node) ?? [];
    const lines = change(before);
    if (lines.length === before.length) return;
    said.set(node, lines);
    show(node, lines);
  };
  api.addEventListener("executing", ({ detail: place }) => place !== null && change(place, () => []));
  api.addEventListener(NOTICE, ({ detail: { node, line } }) => change(node, (lines) => [...new Set([...lines, line])]));
}

/**
 * The node that the server calls so: "7"; "3:7" for node 7 in the subgraph of node 3; "7.0.0.2" for one that node 7 has
 * made for a run.
 * @param {string} place @returns {ComfyNode | undefined}
 */
function nodeAt(place) {
  const [own, ...outer] = `${place}`.split(".")[0].split(":").reverse();
  /** @type {import("../types/comfy.js").Graph | undefined} */
  let graph = app.rootGraph;
  for (const id of outer.reverse()) graph = graph?.getNodeById(id)?.subgraph;
  return graph?.getNodeById(own) ?? undefined;
}

/** By what name the editor keeps a node's output. @param {ComfyNode} node */
function locator(node) {
  const graph = node.graph;
  return !graph || graph.isRootGraph ? `${node.id}` : `${graph.id}:${node.id}`;
}

/** @param {ServerFile} file */
export function viewUrl({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** Tells the editor that a widget has another value: to undo it, to save it, to ask before it is lost. */
export function recordChange() {
  app.canvas.emitBeforeChange();
  app.canvas.emitAfterChange();
}

/** @returns {ComfyNode[]} the selected nodes first */
export function visibleNodes() {
  const all = app.canvas.graph?.nodes ?? [];
  const selected = Object.values(app.canvas.selected_nodes ?? {});
  return [...selected, ...all];
}

/**
 * Wheel and middle button move the view over the widget too, as over the editor's own; all else that the pointer does is
 * the widget's. Nodes 2.0 would otherwise drag the node, and looks after wheel and middle button by itself.
 * @param {HTMLElement} element
 */
function passToCanvas(element) {
  const isDrawnByLiteGraph = () => element.closest(".dom-widget") !== null;
  element.addEventListener("wheel", (event) => {
    if (isDrawnByLiteGraph()) app.canvas.processMouseWheel(event);
  });
  /** @type {(kind: "pointerdown" | "pointermove" | "pointerup", canvas: "processMouseDown" | "processMouseMove" | "processMouseUp") => void} */
  const pass = (kind, canvas) =>
    element.addEventListener(kind, (event) => {
      const isMiddle = event.button === 1 || (event.buttons & 4) !== 0;
      if (!isMiddle) event.stopPropagation();
      else if (isDrawnByLiteGraph()) app.canvas[canvas](event);
    });
  pass("pointerdown", "processMouseDown");
  pass("pointermove", "processMouseMove");
  pass("pointerup", "processMouseUp");
}
