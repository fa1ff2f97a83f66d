// @ts-check
/**
 * The canvas that one paints on, by pointer and by keyboard.
 *
 * @typedef {import("./paintState.js").Easel} Easel
 */

import { drawFrame, drawGrid, drawPainting, drawImage } from "./gridDrawing.js";
import * as easels from "./paintState.js";
import { GridCanvas } from "./GridCanvas.js";
import { isPainted } from "./painting.js";
import { isOn } from "./gridGeometry.js";
import { fill } from "./i18n.js";

const ERASING_BUTTONS = 2 | 32; // the right one of a mouse, and the far end of a pen

export class Stage {
  /**
   * @param {import("./i18n.js").Words} words
   * @param {import("./toolbar.js").Apply} apply
   */
  constructor(words, apply) {
    this.words = words;
    this.apply = apply;
    this.hovers = false;
    /** @type {() => void} draws once more what was drawn last */
    this.redraw = () => {};
    this.surface = new GridCanvas(words.keys, () => this.redraw());
    this.element = this.surface.element;
    this.listenToPointer(this.surface.canvas);
    this.listenToKeys(this.surface.keys);
  }

  focus() {
    this.surface.focus();
  }

  /** @param {Easel} easel @param {CanvasImageSource | null} image */
  draw(easel, image) {
    const { grid } = easel;
    this.redraw = () => this.draw(easel, image);
    this.surface.name(fill(this.words.canvas, { ...grid }));
    this.surface.draw(grid, (pen, box) => {
      drawImage(pen, box, image);
      drawGrid(pen, box, grid);
      drawPainting(pen, box, easels.shown(easel));
      if (this.hovers || this.surface.isFocused) drawFrame(pen, box, grid, easels.reach(easel));
    });
  }

  /** @param {HTMLElement} canvas */
  listenToPointer(canvas) {
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => this.apply(easels.release));
    canvas.addEventListener("pointercancel", () => this.apply(easels.cancel));
    canvas.addEventListener("pointerleave", () => this.hover(false));
    canvas.addEventListener("contextmenu", (event) => {
      event.preventDefault(); // the right button erases
      event.stopPropagation();
    });
  }

  /** @param {HTMLElement} keys */
  listenToKeys(keys) {
    keys.addEventListener("keydown", (event) => this.type(event));
    keys.addEventListener("blur", () => this.apply(easels.cancel));
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button === 1) return; // the editor's, to move the view
    this.apply((easel) => {
      const cell = this.surface.cellAt(event, easel.grid);
      if (!isOn(cell, easel.grid)) return easel;
      this.surface.canvas.setPointerCapture(event.pointerId);
      return easels.press(easel, cell, (event.buttons & ERASING_BUTTONS) !== 0);
    });
  }

  /** @param {PointerEvent} event */
  move(event) {
    this.hover(true);
    const way = [...(event.getCoalescedEvents?.() ?? []), event];
    this.apply((easel) => way.reduce((on, passed) => easels.move(on, this.surface.cellAt(passed, on.grid)), easel));
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
      const sentence = isPainted(easels.shown(next), next.cursor) ? this.words.painted : this.words.notPainted;
      this.surface.say(fill(sentence, { ...next.cursor }));
      return next;
    });
  }
}
