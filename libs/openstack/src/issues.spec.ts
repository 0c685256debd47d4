import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { computeWording, schemaIssues } from './issues.js';

const said = (schema: z.ZodType, input: unknown): string => {
  const { error } = schema.safeParse(input);
  return schemaIssues(error!, input)
    .map((issue) => computeWording(issue, 'body'))
    .join(' ');
};
const base64 = z.string().refine((text) => /^[a-z]*$/.test(text), {
  error: (issue) => `'${issue.input}' is not a 'base64'`,
});
const Server = z.strictObject({
  server: z.strictObject({
    name: z.string(),
    adminPass: z.string().max(8).optional(),
    user_data: base64.optional(),
    personality: z.array(z.strictObject({ path: z.string(), contents: base64 })).optional(),
  }),
});

describe('what is said of a wrong body', () => {
  it('shows the value that is wrong', () => {
    expect(said(Server, { server: { name: 7 } })).toBe(
      "Invalid input for field/attribute name. Value: 7. 7 is not of type 'string'",
    );
  });

  const secret = 'HUSH-HUSH-HUSH';
  it.each([
    ['of a secret that is too long', { name: 'x', adminPass: secret }],
    ['of a secret of a wrong type', { name: 'x', adminPass: [secret] }],
    ['of a secret in a wrong format', { name: 'x', user_data: secret }],
    ['of a secret in a list', { name: 'x', personality: [{ path: '/x', contents: secret }] }],
    ['of a field beside a secret', { name: { adminPass: secret } }],
    ['of a missing field beside a secret', { adminPass: secret }],
    ['of an unknown field beside a secret', { name: 'x', adminPass: 'x', user_data: secret, colour: 'red' }],
    ['of a secret in a wrong place', { name: 'x', personality: { contents: secret } }],
  ])('repeats nothing %s', (_, server) => {
    const text = said(Server, { server });
    expect(text).not.toBe('');
    expect(text).not.toContain('HUSH');
  });
});
