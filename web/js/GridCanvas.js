// @ts-check
/**
 * A canvas with a token grid on it, in the reach of pointer, keyboard and screen reader.
 *
 * The keyboard's focus lies on a text field that covers the canvas unseen. To the editor and to screen readers what is
 * typed there is typed into a field and no shortcut of theirs. Undo neither: elsewhere the editor takes it first.
 *
 * @typedef {import("./painting.js").Cell} Cell
 * @typedef {import("./painting.js").Grid} Grid
 * @typedef {import("./gridGeometry.js").Box} Box
 */

import { make } from "./dom.js";
import { cellAt, fitGrid } from "./gridGeometry.js";

const SHARPNESS = 2; // canvas pixels a pixel of the page, for when the editor is zoomed in

let made = 0;

export class GridCanvas {
  /**
   * @param {string} help  what the keys do
   * @param {() => void} redraw  called when the canvas has another size, or gets or loses the focus
   */
  constructor(help, redraw) {
    const id = `vqd-help-${++made}`;
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.keys = make("input", { class: "vqd-keys", readonly: "", inputmode: "none", "aria-describedby": id });
    this.spoken = make("span", { class: "vqd-unseen", "aria-live": "polite" });
    const parts = [this.canvas, this.keys, make("span", { class: "vqd-unseen", id }, help), this.spoken];
    this.element = make("div", { class: "vqd-canvas" }, ...parts);
    this.canvas.addEventListener("mousedown", (event) => {
      event.preventDefault(); // it would take the focus away again
      this.focus();
    });
    this.keys.addEventListener("focus", redraw);
    this.keys.addEventListener("blur", redraw);
    new ResizeObserver(redraw).observe(this.element);
  }

  focus() {
    this.keys.focus({ preventScroll: true });
  }

  get isFocused() {
    return document.activeElement === this.keys;
  }

  /** What a screen reader calls the canvas. @param {string} name */
  name(name) {
    this.keys.setAttribute("aria-label", name);
  }

  /** Has a screen reader say something. @param {string} sentence */
  say(sentence) {
    this.spoken.textContent = sentence;
  }

  /** The cell under a pointer, however far the editor is zoomed. @param {PointerEvent} event @param {Grid} grid @returns {Cell} */
  cellAt(event, grid) {
    const { left, top, width } = this.canvas.getBoundingClientRect();
    const [across, down] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const zoom = width / across;
    const point = { x: (event.clientX - left) / zoom, y: (event.clientY - top) / zoom };
    return cellAt(point, fitGrid(across, down, grid), grid);
  }

  /** @param {Grid} grid @param {(context: CanvasRenderingContext2D, box: Box) => void} draw */
  draw(grid, draw) {
    const [width, height] = [this.element.clientWidth, this.element.clientHeight];
    const context = this.canvas.getContext("2d");
    if (!context || width === 0 || height === 0) return; // the editor has not laid it out yet
    this.canvas.width = width * SHARPNESS;
    this.canvas.height = height * SHARPNESS;
    context.scale(SHARPNESS, SHARPNESS);
    draw(context, fitGrid(width, height, grid));
  }
}
