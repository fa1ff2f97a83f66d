// @ts-check
/**
 * How a token grid looks on a canvas. Lines and edges are drawn dark under light, to be seen on every image and in
 * every theme.
 *
 * @typedef {import("./painting.js").Cell} Cell
 * @typedef {import("./painting.js").Grid} Grid
 * @typedef {import("./painting.js").Painting} Painting
 * @typedef {import("./gridGeometry.js").Box} Box
 */

import { isPainted } from "./painting.js";

const PAINT = "rgba(255, 106, 0, 0.4)";
const EDGE = "#ffb066";
const DARK = "rgba(0, 0, 0, 0.55)";
const LIGHT = "rgba(255, 255, 255, 0.35)";
const PAPER = "#3a3a3a";

/** The image, or grey paper where none is known. @type {(context: CanvasRenderingContext2D, box: Box, image: CanvasImageSource | null) => void} */
export function drawImage(context, box, image) {
  context.fillStyle = PAPER;
  context.fillRect(box.left, box.top, box.width, box.height);
  if (image) context.drawImage(image, box.left, box.top, box.width, box.height);
}

/** @type {(context: CanvasRenderingContext2D, box: Box, grid: Grid) => void} */
export function drawGrid(context, box, { columns, rows }) {
  const path = new Path2D();
  const [width, height] = [box.width / columns, box.height / rows];
  for (let column = 0; column <= columns; column++) line(path, box.left + column * width, box.top, 0, box.height);
  for (let row = 0; row <= rows; row++) line(path, box.left, box.top + row * height, box.width, 0);
  strokeOutlined(context, path, LIGHT, 1);
}

/** The painted tokens, with an edge around each region. @type {(context: CanvasRenderingContext2D, box: Box, painting: Painting) => void} */
export function drawPainting(context, box, painting) {
  const [width, height] = [box.width / painting.columns, box.height / painting.rows];
  const edges = new Path2D();
  context.fillStyle = PAINT;
  for (let row = 0; row < painting.rows; row++) {
    for (let column = 0; column < painting.columns; column++) {
      if (!isPainted(painting, { column, row })) continue;
      const [x, y] = [box.left + column * width, box.top + row * height];
      context.fillRect(x, y, width, height);
      if (!isPainted(painting, { column: column - 1, row })) line(edges, x, y, 0, height);
      if (!isPainted(painting, { column: column + 1, row })) line(edges, x + width, y, 0, height);
      if (!isPainted(painting, { column, row: row - 1 })) line(edges, x, y, width, 0);
      if (!isPainted(painting, { column, row: row + 1 })) line(edges, x, y + height, width, 0);
    }
  }
  strokeOutlined(context, edges, EDGE, 2);
}

/** A frame around cells. @type {(context: CanvasRenderingContext2D, box: Box, grid: Grid, cells: Cell[]) => void} */
export function drawFrame(context, box, { columns, rows }, cells) {
  const [width, height] = [box.width / columns, box.height / rows];
  const across = cells.map((cell) => cell.column);
  const down = cells.map((cell) => cell.row);
  const [left, top] = [Math.max(Math.min(...across), 0), Math.max(Math.min(...down), 0)];
  const [right, bottom] = [Math.min(Math.max(...across) + 1, columns), Math.min(Math.max(...down) + 1, rows)];
  const frame = new Path2D();
  frame.rect(box.left + left * width, box.top + top * height, (right - left) * width, (bottom - top) * height);
  strokeOutlined(context, frame, "#fff", 2);
}

/** @type {(path: Path2D, x: number, y: number, right: number, down: number) => void} */
function line(path, x, y, right, down) {
  path.moveTo(x, y);
  path.lineTo(x + right, y + down);
}

/** @type {(context: CanvasRenderingContext2D, path: Path2D, colour: string, width: number) => void} */
function strokeOutlined(context, path, colour, width) {
  context.lineWidth = width + 1;
  context.strokeStyle = DARK;
  context.stroke(path);
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.stroke(path);
}
