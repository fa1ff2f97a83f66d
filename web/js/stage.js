// @ts-check
/**
 * The canvas that one paints on, by pointer and by keyboard.
 *
 * The keyboard's focus lies on a text field that covers the canvas unseen. To the editor and to screen readers what is
 * typed there is typed into a field and no shortcut of theirs. Undo neither: elsewhere the editor takes it first.
 *
 * @typedef {import("./easel.js").Easel} Easel
 * @typedef {import("./painting.js").Cell} Cell
 */

import { make } from "./dom.js";
import { drawFrame, drawGrid, drawPainting, drawPicture } from "./drawing.js";
import * as easels from "./easel.js";
import { isPainted } from "./painting.js";
import { cellAt, fitted, isOn } from "./shapes.js";
import { fill } from "./words.js";

const SHARPNESS = 2; // canvas pixels a pixel of the page, for when the editor is zoomed in
const ERASING_BUTTONS = 2 | 32; // the right one of a mouse, and the far end of a pen

let stages = 0;

export class Stage {
  /**
   * @param {import("./words.js").Words} words
   * @param {import("./toolbar.js").Apply} apply
   */
  constructor(words, apply) {
    this.words = words;
    this.apply = apply;
    this.hovers = false;
    /** @type {() => void} */
    this.redraw = () => {};
    const id = `vqd-keys-${++stages}`;
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.keys = make("input", { class: "vqd-keys", readonly: "", inputmode: "none", "aria-describedby": id });
    this.spoken = make("span", { class: "vqd-unseen", "aria-live": "polite" });
    const help = make("span", { class: "vqd-unseen", id }, words.keys);
    this.element = make("div", { class: "vqd-stage" }, this.canvas, this.keys, help, this.spoken);
    this.listenToPointer();
    this.listenToKeys();
    new ResizeObserver(() => this.redraw()).observe(this.element);
  }

  focus() {
    this.keys.focus({ preventScroll: true });
  }

  /** @param {Easel} easel @param {CanvasImageSource | null} picture */
  draw(easel, picture) {
    this.redraw = () => this.draw(easel, picture);
    this.keys.setAttribute("aria-label", fill(this.words.canvas, { ...easel.grid }));
    const [width, height] = [this.element.clientWidth, this.element.clientHeight];
    const pen = this.canvas.getContext("2d");
    if (!pen || width === 0 || height === 0) return;
    this.canvas.width = width * SHARPNESS;
    this.canvas.height = height * SHARPNESS;
    pen.scale(SHARPNESS, SHARPNESS);
    const box = fitted(width, height, easel.grid);
    drawPicture(pen, box, picture);
    drawGrid(pen, box, easel.grid);
    drawPainting(pen, box, easels.shown(easel));
    if (this.hovers || document.activeElement === this.keys) drawFrame(pen, box, easel.grid, easels.reach(easel));
  }

  listenToPointer() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => this.apply(easels.release));
    canvas.addEventListener("pointercancel", () => this.apply(easels.cancel));
    canvas.addEventListener("pointerleave", () => this.hover(false));
    canvas.addEventListener("contextmenu", (event) => {
      event.preventDefault(); // the right button erases
      event.stopPropagation();
    });
    canvas.addEventListener("mousedown", (event) => {
      event.preventDefault(); // it would take the focus away again
      this.focus();
    });
  }

  listenToKeys() {
    this.keys.addEventListener("keydown", (event) => this.type(event));
    this.keys.addEventListener("focus", () => this.redraw());
    this.keys.addEventListener("blur", () => this.apply(easels.cancel));
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button === 1) return; // the editor's, to move the view
    this.apply((easel) => {
      const cell = this.cellAt(event, easel);
      if (!isOn(cell, easel.grid)) return easel;
      this.canvas.setPointerCapture(event.pointerId);
      return easels.press(easel, cell, (event.buttons & ERASING_BUTTONS) !== 0);
    });
  }

  /** @param {PointerEvent} event */
  move(event) {
    this.hover(true);
    const way = event.getCoalescedEvents?.() ?? [];
    this.apply((easel) => [...way, event].reduce((on, passed) => easels.move(on, this.cellAt(passed, on)), easel));
  }

  /** @param {boolean} hovers */
  hover(hovers) {
    this.hovers = hovers;
    this.redraw();
  }

  /** @param {KeyboardEvent} event */
  type(event) {
    this.apply((easel) => {
      const next = easels.type(easel, event);
      if (!next) return easel;
      event.preventDefault();
      event.stopPropagation();
      this.speak(next);
      return next;
    });
  }

  /** @param {Easel} easel */
  speak(easel) {
    const painted = isPainted(easels.shown(easel), easel.cursor);
    this.spoken.textContent = fill(painted ? this.words.painted : this.words.notPainted, { ...easel.cursor });
  }

  /** The cell under a pointer, however far the editor is zoomed. @param {PointerEvent} event @param {Easel} easel @returns {Cell} */
  cellAt(event, { grid }) {
    const { left, top, width } = this.canvas.getBoundingClientRect();
    const [across, down] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const zoom = width / across;
    const point = { x: (event.clientX - left) / zoom, y: (event.clientY - top) / zoom };
    return cellAt(point, fitted(across, down, grid), grid);
  }
}
