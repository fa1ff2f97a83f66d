// @ts-check
/**
 * The widget of VQ-Diffusion Token Inspector: the run step by step, and the token under the pointer or the cursor.
 *
 * @typedef {import("./painting.js").Cell} Cell
 * @typedef {import("./tokenInfo.js").Tokens} Tokens
 */

import { make } from "./dom.js";
import { GridCanvas } from "./GridCanvas.js";
import { drawFrame, drawGrid, drawImage } from "./gridDrawing.js";
import { arrowTarget, clampToGrid, isOnGrid } from "./gridGeometry.js";
import { fill } from "./i18n.js";
import { describeToken, gridOf, lastFrame, stepOf } from "./tokenInfo.js";

/** @type {Tokens} */
const NOTHING = { grid: [12, 12], ids: [] };

export class InspectorWidget {
  /** @param {import("./i18n.js").Messages} messages */
  constructor(messages) {
    this.messages = messages;
    this.tokens = NOTHING;
    /** @type {HTMLImageElement[]} one a frame */
    this.images = [];
    this.frame = 0;
    /** @type {Cell} */
    this.cursor = { column: 0, row: 0 };
    this.hovers = false;
    this.gridCanvas = new GridCanvas(messages.viewerKeys, () => this.draw());
    this.slider = make("input", { type: "range", min: "0", value: "0", "aria-label": messages.step });
    this.step = make("span");
    this.status = make("p", { class: "vqd-status", role: "status" });
    const steps = make("div", { class: "vqd-tools" }, make("label", {}, this.slider, this.step));
    const parts = [steps, this.gridCanvas.element, this.status];
    this.element = make(
      "div",
      { class: "vqd-widget widget-expands", role: "group", "aria-label": messages.viewer },
      ...parts,
    );
    this.slider.addEventListener("input", () => this.goTo(Number(this.slider.value)));
    this.listen(this.gridCanvas.canvas, this.gridCanvas.keys);
    this.update();
  }

  /** @param {Tokens} tokens @param {string[]} addresses  of an image for each frame */
  show(tokens, addresses) {
    this.tokens = tokens;
    this.cursor = clampToGrid(this.cursor, gridOf(tokens));
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
      const cell = this.gridCanvas.cellAt(event, gridOf(this.tokens));
      this.point(cell, isOnGrid(cell, gridOf(this.tokens)));
    });
    canvas.addEventListener("pointerleave", () => this.point(this.cursor, false));
    keys.addEventListener("keydown", (event) => {
      const next = arrowTarget(this.cursor, event.key);
      if (!next) return;
      event.preventDefault();
      event.stopPropagation();
      this.point(next, true);
      this.gridCanvas.say(this.describeCursor());
    });
  }

  /** @param {Cell} cell @param {boolean} hovers */
  point(cell, hovers) {
    this.cursor = clampToGrid(cell, gridOf(this.tokens));
    this.hovers = hovers;
    this.update();
  }

  update() {
    const last = lastFrame(this.tokens);
    this.slider.max = String(last);
    this.slider.value = String(this.frame);
    this.slider.disabled = last === 0;
    this.step.textContent = fill(this.messages.stepOf, {
      step: stepOf(this.tokens, this.frame),
      all: this.tokens.steps ?? 0,
    });
    this.status.textContent = this.tokens === NOTHING ? this.messages.runToSee : this.describeCursor();
    this.draw();
  }

  describeCursor() {
    const { key, values } = describeToken(this.tokens, this.cursor, this.frame);
    return fill(this.messages[key], values);
  }

  draw() {
    const grid = gridOf(this.tokens);
    const image = this.images[this.frame];
    this.gridCanvas.name(fill(this.messages.canvas, { ...grid }));
    this.gridCanvas.draw(grid, (context, box) => {
      drawImage(context, box, image?.complete && image.naturalWidth ? image : null);
      drawGrid(context, box, grid);
      if (this.hovers || this.gridCanvas.isFocused) drawFrame(context, box, grid, [this.cursor]);
    });
  }
}
