import { within } from './requests.js';

/** Returns the JSON of an answer. Calls `progress` for each piece of it: a large page takes long on a slow connection. */
export function jsonOf(answer, progress) {
  if (!answer.body) return answer.json(); // not the platform's own fetch
  const transform = (chunk, out) => {
    progress();
    out.enqueue(chunk);
  };
  return new Response(answer.body.pipeThrough(new TransformStream({ transform }))).json();
}

/**
 * Returns a function that sends a request to the API with the headers of the options, and returns what `read` makes of the
 * answer: by default its JSON, or null with status 404 if the answer `isOptional`.
 * It rejects when there is no progress, once the signal `closed` is aborted, and when the answer is no success: then with
 * `status` and `answer`, and the `code` and message that the API gives.
 */
export function apiOf({ api, headers, fetch = globalThis.fetch, requestTimeout: milliseconds }, closed) {
  return (path, { isOptional, read = jsonOf, ...init } = {}) => {
    const url = api.replace(/\/$/, '') + path;
    const what = `${init.method ?? 'GET'} ${url}`;
    return within({ milliseconds, what, closed }, async (signal, progress) => {
      const given = typeof headers === 'function' ? await headers() : headers;
      const answer = await fetch(url, { ...init, headers: { ...given, ...init.headers }, signal });
      const { status } = answer;
      if (answer.ok) return read(answer, progress);
      if (status === 404 && isOptional) return null;
      const { code, message } = (await answer.json().catch(() => ({}))).error ?? {};
      throw Object.assign(new Error(`${what} answered ${status}${message ? `: ${message}` : ''}`), { status, code, answer });
    });
  };
}
