import { describe, expect, it } from 'vitest';
import { calls, operations } from '../classes/index.mjs';
import { XapiFailure } from './failure.mjs';
import { Schema } from './schema.mjs';

const IMPLICIT = /^(get_(record|all|all_records|by_uuid|by_name_label)|(set|add|remove|add_to|remove_from)_\w+)$/;

describe('the tables', () => {
  const schema = new Schema();

  it('have no call that nothing answers, and nothing answers a call they do not have', () => {
    const handled = new Set([...Object.keys(calls), ...Object.keys(operations), 'session.login_with_password']);
    const unanswered = Object.entries(schema.classes).flatMap(([name, { messages }]) =>
      Object.keys(messages)
        .filter((message) => !handled.has(`${name}.${message}`) && !IMPLICIT.test(message))
        .map((message) => `${name}.${message}`),
    );
    expect(unanswered).toEqual([]);
    expect([...handled].filter((method) => !schema.find(method))).toEqual([]);
  });

  it('give each field a preset of its type', () => {
    expect(schema.emptyRecord('VM')).toMatchObject({
      HVM_shadow_multiplier: 1,
      has_vendor_device: true,
      power_state: 'Halted',
      domain_type: 'unspecified',
      snapshot_of: 'OpaqueRef:NULL',
      snapshot_time: '19700101T00:00:00Z',
      generation_id: '0:0',
      VBDs: [],
      platform: {},
    });
    expect(schema.emptyRecord('host')).toMatchObject({
      license_server: { address: 'localhost', port: '27000' },
      virtual_hardware_platform_versions: [0],
    });
  });

  it('end with the release: what came later is not there', () => {
    const old = new Schema('tampa');
    expect(old.find('VM.set_domain_type')).toBeNull();
    expect(old.classes.VIF!.fields.locking_mode).toBeDefined();
    expect(old.classes.VIF!.fields.ipv4_configuration_mode).toBeUndefined();
    expect(new Schema('kolkata').find('VM.set_domain_type')).not.toBeNull();
    expect(new Schema('25.6.0').classes.VM!.fields.secureboot_certificates_state).toBeUndefined();
    expect(() => new Schema('next year')).toThrow('unknown release');
  });
});

it('has no failure with a code that XAPI does not have', () => {
  expect(() => new XapiFailure('OUT_OF_COFFEE')).toThrow('XAPI has no error');
  expect(new XapiFailure('SR_BACKEND_FAILURE_44', '', 'full', '').description).toEqual([
    'SR_BACKEND_FAILURE_44',
    '',
    'full',
    '',
  ]);
});
