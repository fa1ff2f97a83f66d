// @ts-check
/**
 * What the widgets say, in English. Other languages come from `vqDiffusion` in locales/<language>/main.json.
 *
 * @typedef {typeof ENGLISH} Messages
 */

export const ENGLISH = {
  painting: "Painting on the tokens",
  tools: "Tools for painting",
  brush: "Brush (B)",
  eraser: "Eraser (E)",
  rectangle: "Rectangle (R)",
  size: "Brush size in tokens ([ and ])",
  invert: "Invert: paint what is not painted (I)",
  clear: "Clear (Delete)",
  undo: "Undo (Ctrl+Z)",
  redo: "Redo (Ctrl+Y)",
  canvas: "Token grid, {columns} columns and {rows} rows",
  keys:
    "Arrow keys move the cursor, Shift with them paints along. Space paints, or sets a corner of a rectangle. B brush, " +
    "E eraser, R rectangle, left and right bracket brush size, I invert, Delete clear, Control Z undo, Control Y redo.",
  painted: "Column {column}, row {row}: painted",
  notPainted: "Column {column}, row {row}: not painted",
  count: "{painted} of {all} tokens painted",
  runFirst: "Run once to see the image here.",
  connectVae: "Connect vae to see the image here.",
  unreadable: "The painting in this workflow cannot be read: {problem}. Clear it to paint anew.",
  dropImages: "Drop images here, or click to choose them",
  paintCommand: "Paint on the tokens",
  viewer: "Tokens of the run",
  viewerKeys: "Arrow keys move from token to token.",
  step: "Step of the run",
  stepOf: "step {step} of {all}",
  runToSee: "Run to see the tokens here.",
  token: "Column {column}, row {row}: id {id}",
  knownToken: "Column {column}, row {row}: id {id}, kept",
  drawnToken: "Column {column}, row {row}: id {id}, drawn in step {step}, confidence {percent} %",
  maskedToken: "Column {column}, row {row}: still to be drawn; id {id} comes in step {step}",
};

/** A sentence with its gaps filled. @type {(sentence: string, values: Record<string, string | number>) => string} */
export function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (gap, name) => String(values[name] ?? gap));
}
