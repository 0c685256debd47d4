import { expect, it } from 'vitest';
import { never, newId, Pools } from '../testing/pools.js';

const pools = new Pools();
const TRAIT = 'COMPUTE_SECURITY_UEFI_SECURE_BOOT';
/** As a pool keeps them; of a tar, the names are enough. */
const certificates = (...names: string[]) =>
  Buffer.from(names.map((name) => `${name}.auth\0`).join('')).toString('base64');
const [SHIPPED, ALL] = [certificates('PK'), certificates('PK', 'KEK', 'db', 'dbx')];

it('has secure boot where the pool has the certificates for it', async () => {
  for (const [brand, release, keeps, can] of [
    ['XenServer', '26.17.0', {}, true],
    ['XCP-ng', '26.17.0', {}, false],
    ['XCP-ng', '26.17.0', { uefi_certificates: SHIPPED }, false],
    ['XCP-ng', '26.17.0', { uefi_certificates: SHIPPED, custom_uefi_certificates: ALL }, true],
    ['XCP-ng', '26.17.0', { uefi_certificates: ALL, custom_uefi_certificates: SHIPPED }, false],
    ['XCP-ng', 'stockholm', {}, false],
    ['XCP-ng', 'stockholm', { uefi_certificates: ALL }, true],
  ] as const) {
    const own = await pools.start({ brand, release });
    own.double.db.set('pool', own.double.db.refs('pool')[0]!, keeps);
    const driver = pools.drive({}, own);
    expect([brand, release, keeps, (await driver.survey()).traits.includes(TRAIT)]).toEqual([
      brand,
      release,
      keeps,
      can,
    ]);
    const spec = own.guest(newId());
    const properties = { hw_vm_mode: 'hvm', os_secure_boot: 'required' };
    const spawn = driver.spawn({ ...spec, image: { ...spec.image, properties } }, never);
    if (can) await spawn;
    else await expect(spawn).rejects.toMatchObject({ code: 'unsupported' });
  }
});
