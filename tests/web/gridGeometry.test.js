// @ts-check
import assert from "node:assert/strict";
import test from "node:test";
import {
  brushCells,
  cellAt,
  clampToGrid,
  fitGrid,
  isOnGrid,
  rectangleCells,
  strokeCells,
} from "../../web/js/gridGeometry.js";

const GRID = { columns: 4, rows: 2 };

test("the grid lies in the middle, as large as fits, its cells square", () => {
  assert.deepEqual(fitGrid(100, 100, GRID), { left: 0, top: 25, width: 100, height: 50 });
  assert.deepEqual(fitGrid(300, 50, GRID), { left: 100, top: 0, width: 100, height: 50 });
});

test("a point is in the cell that it lies on, also beyond the edges", () => {
  const box = fitGrid(100, 100, GRID);
  assert.deepEqual(cellAt({ x: 0, y: 25 }, box, GRID), { column: 0, row: 0 });
  assert.deepEqual(cellAt({ x: 99, y: 74 }, box, GRID), { column: 3, row: 1 });
  assert.deepEqual(cellAt({ x: 100, y: 24 }, box, GRID), { column: 4, row: -1 });
});

test("the nearest cell of a cell beyond the edges is on the grid", () => {
  assert.deepEqual(clampToGrid({ column: 7, row: -3 }, GRID), { column: 3, row: 0 });
  assert.equal(isOnGrid({ column: 4, row: 0 }, GRID), false);
  assert.equal(isOnGrid({ column: 3, row: 1 }, GRID), true);
});

for (const size of [1, 2, 3, 4]) {
  test(`a brush of ${size} touches ${size * size} cells around its middle`, () => {
    const cells = brushCells({ column: 5, row: 5 }, size);
    assert.equal(cells.length, size * size);
    const columns = cells.map((cell) => cell.column);
    assert.equal(Math.min(...columns), 5 - Math.floor((size - 1) / 2));
    assert.equal(Math.max(...columns), 5 + Math.floor(size / 2));
  });
}

test("a rectangle has the same cells from whichever corner", () => {
  const cells = rectangleCells({ column: 2, row: 1 }, { column: 1, row: 2 });
  assert.deepEqual(cells, rectangleCells({ column: 1, row: 1 }, { column: 2, row: 2 }));
  assert.equal(cells.length, 4);
});

test("a quick stroke leaves no gap", () => {
  const cells = strokeCells({ column: 0, row: 0 }, { column: 6, row: 3 }, 1);
  for (let i = 1; i < cells.length; i++) {
    assert.ok(Math.abs(cells[i].column - cells[i - 1].column) <= 1 && Math.abs(cells[i].row - cells[i - 1].row) <= 1);
  }
  assert.deepEqual(
    [cells[0], cells[cells.length - 1]],
    [
      { column: 0, row: 0 },
      { column: 6, row: 3 },
    ],
  );
});
