// @ts-check
import assert from "node:assert/strict";
import test from "node:test";
import { describeToken, gridOf, lastFrame, stepOf } from "../../web/js/tokenInfo.js";

const FILE = { filename: "a.png", subfolder: "", type: "temp" };

/** Two rows of three tokens, drawn in 4 steps of which three states are kept. @type {import("../../web/js/tokenInfo.js").Tokens} */
const RUN = {
  grid: [2, 3],
  ids: [10, 11, 12, 13, 14, 15],
  steps: 4,
  drawn_at: [1, 2, 3, 4, 0, 4],
  confidence: [0.5, 0.25, 1, 0.126, 1, 0],
  frames: [FILE, FILE, FILE],
  frame_steps: [0, 2, 4],
};
const WITHOUT_RUN = { grid: RUN.grid, ids: RUN.ids };

test("a grid comes as rows and columns", () => assert.deepEqual(gridOf(RUN), { columns: 3, rows: 2 }));

test("a frame shows a step of the run", () => {
  assert.equal(lastFrame(RUN), 2);
  assert.deepEqual(
    [0, 1, 2].map((frame) => stepOf(RUN, frame)),
    [0, 2, 4],
  );
});

test("a token is told with its id, the step that drew it and the model's confidence then", () => {
  assert.deepEqual(describeToken(RUN, { column: 0, row: 1 }, 2), {
    key: "drawnToken",
    values: { column: 0, row: 1, id: 13, step: 4, percent: 13 },
  });
});

test("a token is still to be drawn before its step", () => {
  assert.equal(describeToken(RUN, { column: 1, row: 0 }, 0).key, "maskedToken");
  assert.equal(describeToken(RUN, { column: 1, row: 0 }, 1).key, "drawnToken");
});

test("a token that the run did not draw was kept", () => {
  assert.equal(describeToken(RUN, { column: 1, row: 1 }, 0).key, "knownToken");
});

test("without a run there are ids, and nothing to step through", () => {
  assert.deepEqual(describeToken(WITHOUT_RUN, { column: 2, row: 1 }, 0), {
    key: "token",
    values: { column: 2, row: 1, id: 15 },
  });
  assert.equal(lastFrame(WITHOUT_RUN), 0);
});
