import { endOf, inputOf } from './chunks.js';

/**
 * Returns the message of the AI SDK that the stream of a response would have left, as for the first messages of a chat. Takes a response of
 * this library, or a record of the HTTP API.
 */
export function messageOf(response) {
  const { status, metadata } = response;
  const state = status === 'streaming' ? 'streaming' : 'done';
  const parts = response.parts.flatMap((part) => partOf(part, { state, isComplete: status === 'complete' }));
  const end = status === 'complete' ? endOf(response) : null;
  return { id: response.id ?? response.responseId, role: 'assistant', metadata: { ...metadata, ...end }, parts: [{ type: 'step-start' }, ...parts] };
}

function partOf(part, { state, isComplete }) {
  const { kind, text } = part;
  if (kind === 'text' || kind === 'refusal') return [{ type: 'text', text, state }];
  if (kind === 'reasoning') return [{ type: 'reasoning', id: part.part, text, state }];
  if (kind !== 'tool_call') return [];
  const { type, toolCallId, toolName, input, errorText } = inputOf(part);
  const isValid = type === 'tool-input-available';
  const toolState = !isComplete ? { state: 'input-streaming', input: isValid ? input : undefined } : isValid ? { state: 'input-available', input } : { state: 'output-error', input, errorText };
  return [{ type: `tool-${toolName}`, toolCallId, ...toolState }];
}
