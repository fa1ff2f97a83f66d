// @ts-check
/**
 * The canvas that one paints on, by pointer and by keyboard.
 *
 * @typedef {import("./paintState.js").PaintState} PaintState
 */

import { GridCanvas } from "./GridCanvas.js";
import { drawFrame, drawGrid, drawImage, drawPainting } from "./gridDrawing.js";
import { isOnGrid } from "./gridGeometry.js";
import { fill } from "./i18n.js";
import { isPainted } from "./painting.js";
import * as paintState from "./paintState.js";

const ERASING_BUTTONS = 2 | 32; // the right one of a mouse, and the far end of a pen

export class PaintCanvas {
  /**
   * @param {import("./i18n.js").Messages} messages
   * @param {import("./toolbar.js").Apply} apply
   */
  constructor(messages, apply) {
    this.messages = messages;
    this.apply = apply;
    this.hovers = false;
    /** @type {() => void} draws once more what was drawn last */
    this.redraw = () => {};
    this.gridCanvas = new GridCanvas(messages.keys, () => this.redraw());
    this.element = this.gridCanvas.element;
    this.listenToPointer(this.gridCanvas.canvas);
    this.listenToKeys(this.gridCanvas.keys);
  }

  focus() {
    this.gridCanvas.focus();
  }

  /** @param {PaintState} state @param {CanvasImageSource | null} image */
  draw(state, image) {
    const { grid } = state;
    this.redraw = () => this.draw(state, image);
    this.gridCanvas.name(fill(this.messages.canvas, { ...grid }));
    this.gridCanvas.draw(grid, (context, box) => {
      drawImage(context, box, image);
      drawGrid(context, box, grid);
      drawPainting(context, box, paintState.visiblePainting(state));
      if (this.hovers || this.gridCanvas.isFocused) drawFrame(context, box, grid, paintState.touchedCells(state));
    });
  }

  /** @param {HTMLElement} canvas */
  listenToPointer(canvas) {
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => this.apply(paintState.release));
    canvas.addEventListener("pointercancel", () => this.apply(paintState.cancel));
    canvas.addEventListener("pointerleave", () => this.hover(false));
    canvas.addEventListener("contextmenu", (event) => {
      event.preventDefault(); // the right button erases
      event.stopPropagation();
    });
  }

  /** @param {HTMLElement} keys */
  listenToKeys(keys) {
    keys.addEventListener("keydown", (event) => this.type(event));
    keys.addEventListener("blur", () => this.apply(paintState.cancel));
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button === 1) return; // the editor's, to move the view
    this.apply((state) => {
      const cell = this.gridCanvas.cellAt(event, state.grid);
      if (!isOnGrid(cell, state.grid)) return state;
      this.gridCanvas.canvas.setPointerCapture(event.pointerId);
      return paintState.press(state, cell, (event.buttons & ERASING_BUTTONS) !== 0);
    });
  }

  /** @param {PointerEvent} event */
  move(event) {
    this.hover(true);
    const way = [...(event.getCoalescedEvents?.() ?? []), event];
    this.apply((state) =>
      way.reduce((on, passed) => paintState.move(on, this.gridCanvas.cellAt(passed, on.grid)), state),
    );
  }

  /** @param {boolean} hovers */
  hover(hovers) {
    this.hovers = hovers;
    this.redraw();
  }

  /** @param {KeyboardEvent} event */
  type(event) {
    this.apply((state) => {
      const next = paintState.handleKey(state, event);
      if (!next) return state;
      event.preventDefault();
      event.stopPropagation();
      const sentence = isPainted(paintState.visiblePainting(next), next.cursor)
        ? this.messages.painted
        : this.messages.notPainted;
      this.gridCanvas.say(fill(sentence, { ...next.cursor }));
      return next;
    });
  }
}
