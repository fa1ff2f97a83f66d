// @ts-check
/**
 * What VQ-Diffusion Token Inspector tells of the first image's tokens, and of the run that drew them if it knows it.
 *
 * @typedef {import("./painting.js").Cell} Cell
 * @typedef {import("../types/comfy.js").ServerFile} ServerFile
 * @typedef {{
 *   grid: [number, number],
 *   ids: number[],
 *   steps?: number,
 *   drawn_at?: number[],
 *   confidence?: number[],
 *   frames?: ServerFile[],
 *   frame_steps?: number[],
 * }} Tokens  row by row, as nodes/inspector.py sends them; `drawn_at` is 0 for a token that the run has kept
 */

/** @type {(tokens: Tokens) => import("./painting.js").Grid} */
export function gridOf({ grid: [rows, columns] }) {
  return { columns, rows };
}

/** The last of the steps that one can see; 0 if the run is not known. @type {(tokens: Tokens) => number} */
export function lastFrame({ frames }) {
  return frames ? frames.length - 1 : 0;
}

/** The step of the run that a frame shows: 0 is before the first one. @type {(tokens: Tokens, frame: number) => number} */
export function stepOf({ frame_steps: steps }, frame) {
  return steps?.[frame] ?? 0;
}

/**
 * What there is to say of a token at a frame: which of the messages of `i18n.js`, and what fills its gaps.
 * @param {Tokens} tokens
 * @param {Cell} cell
 * @param {number} frame
 * @returns {{ key: "token" | "knownToken" | "drawnToken" | "maskedToken", values: Record<string, string | number> }}
 */
export function describeToken(tokens, cell, frame) {
  const index = cell.row * tokens.grid[1] + cell.column;
  const values = { ...cell, id: tokens.ids[index] };
  if (!tokens.drawn_at || !tokens.confidence) return { key: "token", values };
  const step = tokens.drawn_at[index];
  if (step === 0) return { key: "knownToken", values };
  const drawn = { ...values, step, percent: Math.round(tokens.confidence[index] * 100) };
  return { key: step > stepOf(tokens, frame) ? "maskedToken" : "drawnToken", values: drawn };
}
