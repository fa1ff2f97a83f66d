// @ts-check
/**
 * The widget of VQ-Diffusion Token Mask: tools, the canvas, and a line that says how it stands.
 *
 * @typedef {import("./paintState.js").Easel} Easel
 * @typedef {{ grid: [number, number], image: string | null }} Shown  rows and columns, and the image's address
 */

import { make } from "./dom.js";
import * as easels from "./paintState.js";
import { blank, parse } from "./painting.js";
import { Stage } from "./PaintCanvas.js";
import { createToolbar } from "./toolbar.js";
import { fill } from "./i18n.js";

const BEFORE_A_RUN = { columns: 12, rows: 12 };

export class Painter {
  /**
   * @param {import("./i18n.js").Words} words
   * @param {() => void} changed  called when something else is painted
   */
  constructor(words, changed) {
    this.words = words;
    this.changed = changed;
    /** @type {Easel} */
    this.easel = easels.setUp(blank(BEFORE_A_RUN));
    /** @type {Shown | null} */
    this.shown = null;
    /** @type {HTMLImageElement | null} */
    this.image = null;
    /** @type {{ text: string, problem: string } | null} what cannot be read is kept until something is painted */
    this.unreadable = null;
    this.toolbar = createToolbar(words, (change) => this.apply(change));
    this.stage = new Stage(words, (change) => this.apply(change));
    this.count = make("span");
    this.hint = make("span");
    const status = make("p", { class: "vqd-status", role: "status" }, this.count, this.hint);
    const parts = [this.toolbar.element, this.stage.element, status];
    this.element = make("div", { class: "vqd-widget widget-expands", role: "group", "aria-label": words.painting }, ...parts);
    this.update();
  }

  /** What the workflow keeps. */
  get text() {
    return this.unreadable ? this.unreadable.text : easels.text(this.easel);
  }

  set text(text) {
    if (text === this.text) return;
    this.unreadable = null;
    this.easel = easels.replace(this.easel, this.read(text) ?? blank(this.easel.grid), this.shown !== null);
    this.update();
  }

  /** What the last run had before it. @param {Shown} shown */
  show(shown) {
    this.shown = shown;
    this.image = null;
    this.easel = easels.onGrid(this.easel, { rows: shown.grid[0], columns: shown.grid[1] });
    this.update();
    if (shown.image) this.loadImage(shown.image);
  }

  focus() {
    this.stage.focus();
  }

  /** @param {(easel: Easel) => Easel} change */
  apply(change) {
    const before = this.easel;
    this.easel = change(before);
    const repainted = this.easel.history.present !== before.history.present;
    if (repainted) this.unreadable = null;
    this.update();
    if (repainted) this.changed();
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
      if (this.shown?.image !== address) return; // another run came in between
      this.image = image;
      this.update();
    });
    image.src = address;
  }

  update() {
    const { grid } = this.easel;
    this.toolbar.update(this.easel);
    this.stage.draw(this.easel, this.image);
    this.count.textContent = fill(this.words.count, {
      painted: easels.painted(this.easel),
      all: grid.columns * grid.rows,
    });
    this.hint.textContent = this.advice();
  }

  advice() {
    if (this.unreadable) return fill(this.words.unreadable, this.unreadable);
    if (!this.shown) return this.words.runFirst;
    return this.shown.image ? "" : this.words.connectVae;
  }
}
