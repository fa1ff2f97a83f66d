// @ts-check
/**
 * The widget of VQ-Diffusion Token Inspector: the run step by step, and the token under the pointer or the cursor.
 *
 * @typedef {import("./painting.js").Cell} Cell
 * @typedef {import("./tokenInfo.js").Tokens} Tokens
 */

import { make } from "./dom.js";
import { drawFrame, drawGrid, drawImage } from "./gridDrawing.js";
import { arrow } from "./paintState.js";
import { GridCanvas } from "./GridCanvas.js";
import { gridOf, lastFrame, stepOf, tell } from "./tokenInfo.js";
import { clamped, isOn } from "./gridGeometry.js";
import { fill } from "./i18n.js";

/** @type {Tokens} */
const NOTHING = { grid: [12, 12], ids: [] };

export class Viewer {
  /** @param {import("./i18n.js").Words} words */
  constructor(words) {
    this.words = words;
    this.tokens = NOTHING;
    /** @type {HTMLImageElement[]} one a frame */
    this.images = [];
    this.frame = 0;
    /** @type {Cell} */
    this.cursor = { column: 0, row: 0 };
    this.hovers = false;
    this.surface = new GridCanvas(words.viewerKeys, () => this.draw());
    this.slider = make("input", { type: "range", min: "0", value: "0", "aria-label": words.step });
    this.step = make("span");
    this.status = make("p", { class: "vqd-status", role: "status" });
    const steps = make("div", { class: "vqd-tools" }, make("label", {}, this.slider, this.step));
    const parts = [steps, this.surface.element, this.status];
    this.element = make("div", { class: "vqd-widget widget-expands", role: "group", "aria-label": words.viewer }, ...parts);
    this.slider.addEventListener("input", () => this.goTo(Number(this.slider.value)));
    this.listen(this.surface.canvas, this.surface.keys);
    this.update();
  }

  /** @param {Tokens} tokens @param {string[]} addresses  of an image for each frame */
  show(tokens, addresses) {
    this.tokens = tokens;
    this.cursor = clamped(this.cursor, gridOf(tokens));
    this.images = addresses.map((address) => Object.assign(new Image(), { onload: () => this.draw(), src: address }));
    this.goTo(lastFrame(tokens));
  }

  /** @param {number} frame */
  goTo(frame) {
    this.frame = frame;
    this.update();
  }

  /** @param {HTMLElement} canvas @param {HTMLElement} keys */
  listen(canvas, keys) {
    canvas.addEventListener("pointermove", (event) => {
      const cell = this.surface.cellAt(event, gridOf(this.tokens));
      this.point(cell, isOn(cell, gridOf(this.tokens)));
    });
    canvas.addEventListener("pointerleave", () => this.point(this.cursor, false));
    keys.addEventListener("keydown", (event) => {
      const next = arrow(this.cursor, event.key);
      if (!next) return;
      event.preventDefault();
      event.stopPropagation();
      this.point(next, true);
      this.surface.say(this.reading());
    });
  }

  /** @param {Cell} cell @param {boolean} hovers */
  point(cell, hovers) {
    this.cursor = clamped(cell, gridOf(this.tokens));
    this.hovers = hovers;
    this.update();
  }

  update() {
    const last = lastFrame(this.tokens);
    this.slider.max = String(last);
    this.slider.value = String(this.frame);
    this.slider.disabled = last === 0;
    this.step.textContent = fill(this.words.stepOf, { step: stepOf(this.tokens, this.frame), all: this.tokens.steps ?? 0 });
    this.status.textContent = this.tokens === NOTHING ? this.words.runToSee : this.reading();
    this.draw();
  }

  reading() {
    const { word, values } = tell(this.tokens, this.cursor, this.frame);
    return fill(this.words[word], values);
  }

  draw() {
    const grid = gridOf(this.tokens);
    const image = this.images[this.frame];
    this.surface.name(fill(this.words.canvas, { ...grid }));
    this.surface.draw(grid, (pen, box) => {
      drawImage(pen, box, image?.complete && image.naturalWidth ? image : null);
      drawGrid(pen, box, grid);
      if (this.hovers || this.surface.isFocused) drawFrame(pen, box, grid, [this.cursor]);
    });
  }
}
