// A test whose tools are missing says so; where CI=true it fails.

/** What `node:test` takes as `skip`: false if `tool` is there. */
export function missing(tool, there) {
  if (there) return false;
  if (process.env.CI === 'true') throw new Error(`CI needs ${tool}, and it is not installed`);
  return `${tool} is not installed`;
}
