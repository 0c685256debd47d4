import { describe, expect, it } from 'vitest';
import { openCheckpoint, signCheckpoint } from './checkpoint.js';
import { leafHash } from './merkle.js';
import { newSeed, openNote, parseVerifier, signerOf, signNote } from './note.js';

const older = signerOf('cloud.example/log', newSeed());
const newer = signerOf('cloud.example/log', newSeed());

describe('signed notes', () => {
  it('are opened by each key that signed them', () => {
    const note = signNote('some text\n\nwith a gap\n', [newer, older]);
    for (const signer of [older, newer]) {
      const opened = openNote(note, [parseVerifier(signer.verifier.text)]);
      expect(opened.text).toBe('some text\n\nwith a gap\n');
      expect(opened.signedBy.map((k) => k.text)).toEqual([signer.verifier.text]);
    }
  });

  it('are refused when a byte is another, or nobody known has signed', () => {
    const note = signNote('size 12\n', [older]);
    const keys = [older.verifier];
    expect(() => openNote(note.replace('12', '13'), keys)).toThrow('the signature of cloud.example/log is wrong');
    expect(() => openNote(note, [newer.verifier])).toThrow('no key that is known');
    expect(() => openNote('size 12\n', keys)).toThrow('not a signed note');
    expect(() => openNote(`${note}— nonsense\n`, keys)).toThrow('not a signed note');
  });

  it('read the keys of other implementations, and no broken ones', () => {
    const text = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
    expect(parseVerifier(text)).toMatchObject({ name: 'PeterNeumann', text });
    expect(() => parseVerifier(text.replace('c74f', 'c74e'))).toThrow('do not belong together');
    for (const broken of ['', 'a+b+c', text.slice(0, -3), text.replace('+A', '+B')])
      expect(() => parseVerifier(broken)).toThrow('not the public key');
  });
});

describe('checkpoints', () => {
  const head = {
    origin: 'cloud.example/log',
    size: 7,
    root: leafHash('root'),
    position: 9,
    recordedAt: '2026-01-02T03:04:05.678Z' as never,
  };

  it('say what was signed', () => {
    const { note, size, position } = signCheckpoint(head, [older]);
    expect({ size, position }).toEqual({ size: 7, position: 9 });
    expect(openCheckpoint(note, [older.verifier])).toEqual(head);
  });

  it('are nothing else than checkpoints', () => {
    for (const text of ['a\n', 'a\n7\nAAAA\nposition 9\nrecorded-at x\n', 'a\n07\n\n\n\n'])
      expect(() => openCheckpoint(signNote(text, [older]), [older.verifier])).toThrow('not a checkpoint');
  });
});
