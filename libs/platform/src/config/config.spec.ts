import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ConfigError, checkConfig, flag, httpUrl, loadConfig, port, secret, showConfig } from './config.js';

const schema = z.object({
  PORT: port.default(8774),
  DATABASE_URL: z.string(),
  MASTER_KEY: secret(z.string().min(8)),
  OLD_KEY: secret(z.string()).optional(),
  TRACE: flag.default(false),
});
const good = { DATABASE_URL: 'postgres://o:pa55@db/x', MASTER_KEY: 'verysecret', TRACE: 'yes', PORT: '' };

describe('configuration', () => {
  it('is typed, with defaults where a variable is empty or missing', () => {
    expect(loadConfig(schema, good)).toMatchObject({ PORT: 8774, TRACE: true });
  });
  it('names every problem at once and shows no value', () => {
    const bad = { PORT: '99999', MASTER_KEY: 'short' };
    expect(
      checkConfig(schema, bad)
        .map((p) => p.name)
        .sort(),
    ).toEqual(['DATABASE_URL', 'MASTER_KEY', 'PORT']);
    expect(() => loadConfig(schema, bad)).toThrow(ConfigError);
    expect(JSON.stringify(checkConfig(schema, bad))).not.toContain('short"');
    expect(checkConfig(schema, bad)).toContainEqual({ name: 'DATABASE_URL', problem: 'is not set' });
  });
  it('takes the address of something that speaks HTTP, and nothing that only looks like one', () => {
    const isGood = (text: string) => httpUrl.safeParse(text).success;
    expect(['https://cloud.example', 'http://127.0.0.1:8780', 'http://api-gateway:8080/a'].map(isGood)).toEqual([
      true,
      true,
      true,
    ]);
    expect(['cloud.example', 'cloud.example:8780', 'ftp://cloud.example'].map(isGood)).toEqual([false, false, false]);
  });
  it('takes a value from the file that NAME_FILE names, and says when it cannot', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'config-')), 'key');
    writeFileSync(file, 'out of a file\n');
    const { MASTER_KEY: _, ...rest } = good;
    expect(loadConfig(schema, { ...rest, MASTER_KEY_FILE: file }).MASTER_KEY).toBe('out of a file');
    const shown = showConfig(schema, { ...rest, MASTER_KEY_FILE: file });
    expect(shown).toContainEqual({ name: 'MASTER_KEY', value: '***', source: 'file' });
    expect(checkConfig(schema, { ...rest, MASTER_KEY_FILE: `${file}.none` })).toEqual([
      { name: 'MASTER_KEY', problem: `cannot be read from ${file}.none` },
    ]);
    rmSync(dirname(file), { recursive: true });
  });
  it('masks secrets, also those in a URL', () => {
    const shown = showConfig(schema, good);
    expect(JSON.stringify(shown)).not.toMatch(/verysecret|pa55/);
    expect(shown.find((e) => e.name === 'MASTER_KEY')).toEqual({
      name: 'MASTER_KEY',
      value: '***',
      source: 'environment',
    });
    expect(shown.find((e) => e.name === 'OLD_KEY')?.value).toBeNull();
    expect(shown.find((e) => e.name === 'PORT')).toEqual({ name: 'PORT', value: 8774, source: 'default' });
  });
});
