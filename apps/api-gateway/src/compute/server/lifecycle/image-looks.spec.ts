import { type ImageId, type ImageReadiness, unavailable } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { ImageLooks } from './image-looks.js';

const id = (n: number) => `7e3c5d0a-6c39-4c68-9a0e-3d8f6f1b9a${n + 10}` as ImageId;
const readiness: ImageReadiness = { qemu: { verdict: 'cannot', reason: 'Its kernel is paravirtual.' } };

/** Answers come when `answer` is called. */
const looks = () => {
  const asked: ImageId[] = [];
  const answers: ((readiness: ImageReadiness | undefined) => void)[] = [];
  const known = new ImageLooks((imageId) => {
    asked.push(imageId);
    return new Promise((resolve) => answers.push(resolve));
  });
  const answer = (found?: ImageReadiness) => {
    for (const resolve of answers.splice(0)) resolve(found);
  };
  return { known, asked, answer };
};

describe('the look at the image of a server', () => {
  it('is asked for once for all that wait, and is remembered', async () => {
    const { known, asked, answer } = looks();
    const waiting = [known.wait(id(1)), known.wait(id(1))];
    answer(readiness);
    expect(await Promise.all(waiting)).toEqual([readiness, readiness]);
    expect(await known.wait(id(1))).toEqual(readiness);
    expect(known.known(id(1))).toEqual(readiness);
    expect(asked).toEqual([id(1)]);
  });
  it('is asked for again when it had not come', async () => {
    const { known, asked, answer } = looks();
    const first = known.wait(id(1));
    answer();
    expect(await first).toBeUndefined();
    const second = known.wait(id(1));
    answer(readiness);
    expect(await second).toEqual(readiness);
    expect(asked).toEqual([id(1), id(1)]);
  });
  it('is waited for by a few: more go on without it', async () => {
    const { known, asked, answer } = looks();
    const waiting = [1, 1, 1, 2, 2, 3, 4, 5].map((n) => known.wait(id(n)));
    expect(await known.wait(id(1))).toBeUndefined();
    expect(await known.wait(id(6))).toBeUndefined();
    answer(readiness);
    expect(await Promise.all(waiting)).toEqual(waiting.map(() => readiness));
    expect(asked).toEqual([1, 2, 3, 4, 5].map(id));
    const next = known.wait(id(6));
    answer(readiness);
    expect(await next).toEqual(readiness);
  });
  it('is as one that takes long when nobody answers', async () => {
    const away = new ImageLooks(async () => {
      throw unavailable('nobody answers image.inspect');
    });
    expect(await away.wait(id(1))).toBeUndefined();
    const broken = new ImageLooks(async () => {
      throw new Error('broken');
    });
    await expect(broken.wait(id(1))).rejects.toThrow('broken');
  });
});
