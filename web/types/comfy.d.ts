/** The members of the editor that are in use here, as of its frontends 1.32.9 to 1.58.1. */

export interface Widget {
  name: string;
  value: unknown;
  serialize?: boolean;
}

/** A widget to choose from. */
export interface Menu extends Widget {
  options: { values: string[] };
}

export interface WidgetOptions {
  getValue?: () => string;
  setValue?: (value: string) => void;
  getMinHeight?: () => number;
  getMaxHeight?: () => number;
  serialize?: boolean;
}

/** By what the server finds an image that it has made. */
export interface ServerFile {
  filename: string;
  subfolder: string;
  type: string;
}

export interface Graph {
  id: string;
  isRootGraph: boolean;
  nodes: ComfyNode[];
  getNodeById(id: string): ComfyNode | null;
}

export interface ComfyNode {
  id: number | string;
  comfyClass: string;
  title: string;
  graph: Graph | null;
  subgraph?: Graph;
  size: [number, number];
  widgets?: Widget[];
  computeSize(): [number, number];
  setSize(size: [number, number]): void;
  removeWidget(widget: Widget): void;
  addDOMWidget(name: string, type: string, element: HTMLElement, options?: WidgetOptions): Widget;
  onDragOver?(event: DragEvent): boolean;
  onDragDrop?(event: DragEvent): boolean;
  onExecuted?(this: ComfyNode, output: object): void;
  onConfigure?(this: ComfyNode, ...data: unknown[]): void;
}

export interface ComfyExtension {
  name: string;
  init?(): Promise<void>;
  nodeCreated?(node: ComfyNode): void;
  getCustomWidgets?(): Record<string, (node: ComfyNode, name: string) => { widget: Widget }>;
  commands?: { id: string; label: string; icon: string; function: () => void }[];
  keybindings?: { commandId: string; combo: { key: string; alt?: boolean } }[];
}

export interface Canvas {
  graph: Graph | null;
  selected_nodes?: Record<string, ComfyNode>;
  emitBeforeChange(): void;
  emitAfterChange(): void;
  processMouseWheel(event: WheelEvent): void;
  processMouseDown(event: PointerEvent): void;
  processMouseMove(event: PointerEvent): void;
  processMouseUp(event: PointerEvent): void;
}

export interface App {
  canvas: Canvas;
  rootGraph: Graph;
  nodeOutputs: Record<string, object>;
  extensionManager: {
    setting: { get(id: string): string | undefined };
    toast: { add(message: { severity: string; summary: string; detail: string; life: number }): void };
  };
  registerExtension(extension: ComfyExtension): void;
}

export interface Api {
  apiURL(path: string): string;
  fetchApi(path: string, request?: RequestInit): Promise<Response>;
  addEventListener(type: string, listen: (event: CustomEvent) => void): void;
}
