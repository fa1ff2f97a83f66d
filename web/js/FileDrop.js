// @ts-check
/** Where files are dropped, or chosen by a click. */

import { make } from "./dom.js";

export class FileDrop {
  /**
   * @param {string} label
   * @param {(files: File[]) => void} take  never an empty list
   */
  constructor(label, take) {
    this.take = take;
    this.chooser = make("input", { type: "file", multiple: "", hidden: "" });
    this.chooser.addEventListener("change", () => this.accept(this.chooser.files));
    this.button = make("button", { type: "button" }, label);
    this.button.addEventListener("click", () => this.chooser.click());
    this.element = make("div", { class: "vqd-drop" }, this.button, this.chooser);
    this.element.addEventListener("dragover", (event) => event.preventDefault());
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation(); // else the editor opens them as workflows
      this.accept(event.dataTransfer?.files);
    });
  }

  /** Whether there are any. @param {FileList | null | undefined} files */
  accept(files) {
    const some = [...(files ?? [])];
    this.chooser.value = ""; // so that the same files can be chosen again
    if (some.length) this.take(some);
    return some.length > 0;
  }
}
