/** Where the editor serves its own modules, which exist only there. */

declare module "*/scripts/app.js" {
  export const app: import("./comfy.js").App;
}

declare module "*/scripts/api.js" {
  export const api: import("./comfy.js").Api;
}
