/** In hex; null where the page is not a secure context. */
export async function sha256(text) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return null;
  const bytes = new Uint8Array(await subtle.digest('SHA-256', new TextEncoder().encode(text)));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** As the platform reports what nobody caught. */
export function report(error) {
  if (globalThis.reportError) return globalThis.reportError(error);
  setTimeout(() => {
    throw error;
  });
}

/** What listeners get: a value of its own, so that keeping or comparing it is safe. */
export function snapshotOf(response) {
  const { id, status, reason, error, metadata, usage, startedAt, firstTokenAt, tokens, frames, verified } = response;
  const common = { id, status, reason, error, metadata, usage, startedAt, firstTokenAt, tokens, frames, verified };
  const parts = [...response.parts.values()].map(({ part, kind, info, text }) => {
    return { part, kind, info, text, sha256: response.expected?.get(part)?.sha256 ?? null };
  });
  const text = response.parts.get('text')?.text ?? '';
  const { last: seq, complete, broken: repairing } = response;
  return { ...common, text, parts, seq, gaps: [...response.gaps], repairing, complete };
}
