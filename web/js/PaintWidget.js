// @ts-check
/**
 * The widget of VQ-Diffusion Token Mask: tools, the canvas, and a line that says how it stands.
 *
 * @typedef {import("./paintState.js").PaintState} PaintState
 * @typedef {{ grid: [number, number], image: string | null }} Output  rows and columns, and the image's address
 */

import { make } from "./dom.js";
import { fill } from "./i18n.js";
import { PaintCanvas } from "./PaintCanvas.js";
import { emptyPainting, parse } from "./painting.js";
import * as paintState from "./paintState.js";
import { createToolbar } from "./toolbar.js";

const BEFORE_A_RUN = { columns: 12, rows: 12 };

export class PaintWidget {
  /**
   * @param {import("./i18n.js").Messages} messages
   * @param {() => void} onChange  called when something else is painted
   */
  constructor(messages, onChange) {
    this.messages = messages;
    this.onChange = onChange;
    /** @type {PaintState} */
    this.state = paintState.create(emptyPainting(BEFORE_A_RUN));
    /** @type {Output | null} */
    this.output = null;
    /** @type {HTMLImageElement | null} */
    this.image = null;
    /** @type {{ text: string, problem: string } | null} what cannot be read is kept until something is painted */
    this.unreadable = null;
    this.toolbar = createToolbar(messages, (change) => this.apply(change));
    this.canvas = new PaintCanvas(messages, (change) => this.apply(change));
    this.count = make("span");
    this.hint = make("span");
    const status = make("p", { class: "vqd-status", role: "status" }, this.count, this.hint);
    const parts = [this.toolbar.element, this.canvas.element, status];
    this.element = make(
      "div",
      { class: "vqd-widget widget-expands", role: "group", "aria-label": messages.painting },
      ...parts,
    );
    this.update();
  }

  /** What the workflow keeps. */
  get text() {
    return this.unreadable ? this.unreadable.text : paintState.serialize(this.state);
  }

  set text(text) {
    if (text === this.text) return;
    this.unreadable = null;
    this.state = paintState.replace(
      this.state,
      this.read(text) ?? emptyPainting(this.state.grid),
      this.output !== null,
    );
    this.update();
  }

  /** What the last run had before it. @param {Output} output */
  show(output) {
    this.output = output;
    this.image = null;
    this.state = paintState.setGrid(this.state, { rows: output.grid[0], columns: output.grid[1] });
    this.update();
    if (output.image) this.loadImage(output.image);
  }

  focus() {
    this.canvas.focus();
  }

  /** @param {(state: PaintState) => PaintState} change */
  apply(change) {
    const before = this.state;
    this.state = change(before);
    const repainted = this.state.history.present !== before.history.present;
    if (repainted) this.unreadable = null;
    this.update();
    if (repainted) this.onChange();
  }

  /** @param {string} text */
  read(text) {
    try {
      return parse(text);
    } catch (error) {
      this.unreadable = { text, problem: /** @type {Error} */ (error).message };
      return null;
    }
  }

  /** @param {string} address */
  loadImage(address) {
    const image = new Image();
    image.addEventListener("load", () => {
      if (this.output?.image !== address) return; // another run came in between
      this.image = image;
      this.update();
    });
    image.src = address;
  }

  update() {
    const { grid } = this.state;
    this.toolbar.update(this.state);
    this.canvas.draw(this.state, this.image);
    this.count.textContent = fill(this.messages.count, {
      painted: paintState.countPainted(this.state),
      all: grid.columns * grid.rows,
    });
    this.hint.textContent = this.advice();
  }

  advice() {
    if (this.unreadable) return fill(this.messages.unreadable, this.unreadable);
    if (!this.output) return this.messages.runFirst;
    return this.output.image ? "" : this.messages.connectVae;
  }
}
