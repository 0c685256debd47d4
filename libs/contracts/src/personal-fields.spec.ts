import { describe, expect, it } from 'vitest';
import { eventSets } from './events/catalog.js';
import { joinPersonal, personalFieldsOf, splitPersonal } from './personal-fields.js';

const pathsOf = (type: string) => personalFieldsOf(type).map(({ path }) => path.join('.'));

describe('personal fields', () => {
  it('are found inside attributes, optional and partial ones too', () => {
    expect(pathsOf('UserCreated')).toEqual(['attributes.name', 'attributes.description', 'attributes.extra']);
    expect(pathsOf('UserUpdated')).toEqual(['changes.name', 'changes.description', 'changes.extra']);
    expect(pathsOf('ServerRebuildRequested')).toEqual(['description', 'publicKey']);
    expect(pathsOf('ServerSpawned')).toEqual([]);
    expect(pathsOf('NotOfThisRelease')).toEqual([]);
  });

  it('have a subject in every set that has some, and a writer that has the keys', () => {
    const sets = eventSets.filter((set) => Object.keys(set.events).some((type) => personalFieldsOf(type).length > 0));
    expect(sets.map((set) => set.stream)).toEqual([
      'project',
      'user',
      'application-credential',
      'login',
      'server',
      'keypair',
    ]);
    for (const set of sets) {
      expect(set.subject, set.stream).toBeDefined();
      expect(set.writer).toBe('api-gateway');
    }
  });

  it('leave data that its schema still takes', () => {
    const attributes = { name: 'Jane', domainId: 'default', description: null, enabled: true, defaultProjectId: null };
    const data = { id: 'u', attributes: { ...attributes, options: {}, extra: { email: 'j@x.example' } } };
    const { rest, values } = splitPersonal('UserCreated', data)!;
    expect(rest).toEqual({ id: 'u', attributes: { ...data.attributes, name: 'erased', extra: {} } });
    expect(values).toEqual({ 'attributes.name': 'Jane', 'attributes.extra': { email: 'j@x.example' } });
    expect(joinPersonal(rest, values)).toEqual(data);
    expect(data.attributes.name).toBe('Jane');
  });

  it('are none where a change touches none, or only empties them', () => {
    expect(splitPersonal('UserUpdated', { id: 'u', changes: { enabled: false } })).toBeNull();
    expect(splitPersonal('UserUpdated', { id: 'u', changes: { description: null, extra: {} } })).toBeNull();
  });
});
