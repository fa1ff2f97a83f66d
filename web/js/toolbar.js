// @ts-check
/**
 * The tools above the canvas.
 *
 * @typedef {import("./paintState.js").PaintState} PaintState
 * @typedef {(change: (state: PaintState) => PaintState) => void} Apply  does something to the state
 */

import { iconButton, make } from "./dom.js";
import * as paintState from "./paintState.js";

const BRUSH = "M4 20c3 0 5-1 5-4l9-12 2 2-11 10M4 20c0-3 1-5 4-5";
const ERASER = "M9 20h11M4 14l9-9 6 6-9 9H8zM9 10l6 6";
const RECTANGLE = "M4 6h16v12H4z";
const INVERT = "M12 4v16M12 4h7v16h-7M12 4H5v16h7M14 8h3M14 12h3M14 16h3";
const CLEAR = "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13";
const UNDO = "M9 5L4 10l5 5M4 10h9c4 0 7 2 7 8";
const REDO = "M15 5l5 5-5 5M20 10h-9c-4 0-7 2-7 8";

/**
 * @param {import("./i18n.js").Messages} messages
 * @param {Apply} apply
 * @returns {{ element: HTMLElement, update: (state: PaintState) => void }}
 */
export function createToolbar(messages, apply) {
  const tools = {
    brush: iconButton(messages.brush, BRUSH, () => apply((state) => paintState.selectTool(state, "brush"))),
    eraser: iconButton(messages.eraser, ERASER, () => apply((state) => paintState.selectTool(state, "eraser"))),
    rectangle: iconButton(messages.rectangle, RECTANGLE, () =>
      apply((state) => paintState.selectTool(state, "rectangle")),
    ),
  };
  const size = createSize(messages, apply);
  const invert = iconButton(messages.invert, INVERT, () => apply(paintState.invert));
  const clear = iconButton(messages.clear, CLEAR, () => apply(paintState.clear));
  const undo = iconButton(messages.undo, UNDO, () => apply(paintState.undo));
  const redo = iconButton(messages.redo, REDO, () => apply(paintState.redo));
  const parts = [...Object.values(tools), size.element, invert, clear, undo, redo];

  /** @param {PaintState} state */
  function update({ tool, size: tokens, history }) {
    for (const [name, button] of Object.entries(tools)) button.setAttribute("aria-pressed", String(name === tool));
    size.update(tokens);
    undo.disabled = history.past.length === 0;
    redo.disabled = history.future.length === 0;
  }

  return {
    element: make("div", { class: "vqd-tools", role: "toolbar", "aria-label": messages.tools }, ...parts),
    update,
  };
}

/** @type {(messages: import("./i18n.js").Messages, apply: Apply) => { element: HTMLElement, update: (tokens: number) => void }} */
function createSize(messages, apply) {
  const range = make("input", {
    type: "range",
    min: "1",
    max: `${paintState.MAX_BRUSH_SIZE}`,
    "aria-label": messages.size,
  });
  const number = make("span", { "aria-hidden": "true" });
  range.addEventListener("input", () => apply((state) => paintState.setBrushSize(state, Number(range.value))));
  return {
    element: make("label", { title: messages.size }, range, number),
    update(tokens) {
      range.value = number.textContent = String(tokens);
    },
  };
}
