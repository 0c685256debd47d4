import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { ms } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { startOneImage } from '../../../../tools/image/one-image.js';
import { guestsTable, imagesTable } from '../image/image.projection.js';
import { Sandbox } from '../sandbox/sandbox.js';
import { FileImageStore } from '../store/index.js';
import { type ImageCloud, startImageCloud } from '../testing/image-cloud.js';

const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
const run = (command: string, args: string[], options: object = {}) =>
  execFileSync(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'], maxBuffer: 1 << 28, ...options });
/** A real Debian, built with mmdebstrap: `OMNIVISOR_LAB_DEBIAN=1`, some minutes. */
const lab = process.env.OMNIVISOR_LAB_DEBIAN === '1';
/** What makes its initial RAM disk, and how it comes to have few drivers. */
const TOOLS = {
  'initramfs-tools':
    'printf "MODULES=list\\n" >"$1/etc/initramfs-tools/conf.d/list"; printf "virtio_pci\\nvirtio_blk\\next4\\n" >>"$1/etc/initramfs-tools/modules"; chroot "$1" update-initramfs -u',
  dracut:
    'few="$1/etc/dracut.conf.d/few.conf"; echo \'omit_drivers+=" hv_vmbus hv_storvsc vmw_pvscsi xen-blkfront ata_piix "\' >"$few"; release=$(ls "$1/lib/modules"); chroot "$1" dracut --force --no-hostonly "/boot/initrd.img-$release" "$release"; rm "$few"',
};

/** Stands in for a guest's tool where there is no distribution: packs the modules that its list names, and what is there. */
const standIn = (options: string, list: string) => `#!/bin/sh
set -e
[ "$*" = "${options}" ] || exit 1
release=$(ls /lib/modules)
tree=/tmp/tree
mkdir -p $tree && cd $tree
zcat /boot/initrd.img-$release | cpio -idu 2>/dev/null
for module in $(${list}); do
  name=$(echo $module | sed 's/[-_]/[-_]/g')
  for file in $(find /lib/modules/$release -name "$name.ko"); do
    mkdir -p .$(dirname $file) && cp $file .$file
  done
done
find . | cpio -o -H newc 2>/dev/null | gzip -1 >/boot/initrd.img-$release
rm -rf $tree
`;
const UPDATE_INITRAMFS = {
  path: 'usr/sbin/update-initramfs',
  chroot: true,
  script: standIn('-u -k $(ls /lib/modules)', 'cat /etc/initramfs-tools/modules'),
};
const DRACUT = {
  path: 'usr/bin/dracut',
  /** What dracut made has none. */
  chroot: false,
  script: standIn(
    '--force --no-hostonly /boot/initrd.img-$(ls /lib/modules) $(ls /lib/modules)',
    `cut -d'"' -f2 /etc/dracut.conf.d/omnivisor.conf`,
  ),
};
const INIT = `#!/bin/sh
exec </dev/console >/dev/console 2>&1
echo "omnivisor-test: up by $(grep -o '^vmw_pvscsi' /proc/modules)"
poweroff -f
`;

/** The small guest has no libraries. */
const hasStatic = existsSync('/bin/busybox') && spawnSync('ldd', ['/bin/busybox']).status !== 0;

describe.skipIf(process.getuid?.() !== 0 || !hasStatic)('driver injection (needs root and busybox-static)', () => {
  let folder = '';
  let cloud: ImageCloud;
  const at = (...parts: string[]) => join(folder, ...parts);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'injection-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  beforeEach(async () => {
    cloud = await startImageCloud({
      store: await FileImageStore.open(at('store')),
      sandbox: Sandbox.detect(),
      settings: { maxImageSize: 2 ** 40, formsCapacity: 2 ** 40 },
    });
  });
  afterEach(() => cloud.stop());

  const call = async (method: string, path: string, body?: unknown) => {
    const answer = await cloud.app.fastify.inject({
      ...{ method: method as 'POST', url: `/image/v2${path}` },
      headers: { 'x-auth-token': 'p1', 'content-type': 'application/json' },
      ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
    });
    return { status: answer.statusCode, json: () => answer.json() };
  };
  const upload = async (path: string): Promise<string> => {
    const { id } = (
      await call('POST', '/images', { name: 'old', disk_format: 'raw', container_format: 'bare' })
    ).json();
    const put = await cloud.app.fastify.inject({
      ...{ method: 'PUT', url: `/image/v2/images/${id}/file`, payload: createReadStream(path) },
      headers: { 'x-auth-token': 'p1', 'content-type': 'application/octet-stream' },
    });
    expect(put.statusCode, put.body).toBe(204);
    await cloud.guests!.idle();
    return id;
  };
  const readiness = async (id: string) => (await (await cloud.core.fresh()).get(guestsTable, id))?.readiness;
  const inject = (id: string, ...hypervisors: string[]) =>
    call('POST', `/images/${id}/actions/os-omnivisor-inject`, { hypervisors });
  /** The new image, once its task has ended. */
  const ended = async (id: string, seconds: number) => {
    const task = async () => (await call('GET', `/images/${id}/tasks`)).json().tasks[0];
    await vi.waitFor(async () => expect((await task()).status).not.toBe('processing'), {
      ...{ timeout: seconds * 1_000, interval: 200 },
    });
    return task();
  };

  /** Debian to all who look, with a kernel that has every driver and a RAM disk that has those of QEMU. */
  const smallGuest = async ({ path, script, chroot }: typeof DRACUT): Promise<string> => {
    if (!existsSync(at('root'))) await smallTree();
    for (const tool of [UPDATE_INITRAMFS, DRACUT]) await rm(at('root', tool.path), { force: true });
    await writeFile(at('root', path), script, { mode: 0o755 });
    await rm(at('ram/bin/chroot'), { force: true });
    if (chroot) await symlink('busybox', at('ram/bin/chroot'));
    const [release] = await readdir(at('ram/lib/modules'));
    const packed = at('root/boot', `initrd.img-${release}`);
    run('sh', ['-c', `find . | cpio --quiet -o -H newc -R 0:0 | gzip -1 >${packed}`], { cwd: at('ram') });
    await rm(at('guest.raw'), { force: true });
    run('truncate', ['-s', '128M', at('guest.raw')]);
    const fs = ['-t', 'ext4', '-O', '^has_journal', '-L', 'omnivisor-root'];
    run('mke2fs', ['-q', '-F', ...fs, '-d', at('root'), at('guest.raw')]);
    return at('guest.raw');
  };
  const smallTree = async (): Promise<void> => {
    const one = await startOneImage();
    for (const form of ['aki', 'ari'] as const) await cp(await one.file(form), at(form));
    await one.stop();
    await mkdir(at('ram'));
    run('sh', ['-c', `zstd -dc ${at('ari')} | cpio --quiet -idu`], { cwd: at('ram') });
    const release = (await readdir(at('ram/lib/modules')))[0]!;
    for (const path of [
      'boot',
      'etc/initramfs-tools',
      'usr/sbin',
      'usr/bin',
      'bin',
      'tmp',
      'run',
      'dev',
      'proc',
      'sys',
    ])
      await mkdir(at('root', path), { recursive: true });
    await cp(at('ram/lib'), at('root/lib'), { recursive: true });
    await writeFile(at('root/etc/os-release'), 'ID=debian\nVERSION_ID="12"\n');
    await cp('/bin/busybox', at('root/bin/busybox'));
    for (const applet of run('/bin/busybox', ['--list']).toString().trim().split('\n'))
      if (!['busybox', 'init'].includes(applet)) await symlink('busybox', at('root/bin', applet));
    await writeFile(at('root/bin/init'), INIT, { mode: 0o755 });
    run(
      'sh',
      [
        '-c',
        'find lib/modules -type f \\( -name "hv_*" -o -name "vmw_*" -o -name "vmxnet3*" -o -name "ata_piix*" \\) -delete',
      ],
      {
        cwd: at('ram'),
      },
    );
    await symlink('busybox', at('ram/bin/mkdir'));
    await cp(at('aki'), at('root/boot', `vmlinuz-${release}`));
  };
  /** Starts the guest's kernel and RAM disk beside its disk on the controller of vSphere. @returns what it says */
  const bootOnPvscsi = async (id: string): Promise<string> => {
    const image = (await (await cloud.core.fresh()).get(imagesTable, id))!;
    for (const form of ['qcow2', 'aki', 'ari'] as const) {
      const bytes = await cloud.forms.read((await cloud.forms.ready(image, form, ms(60_000)))!);
      await pipeline(bytes, createWriteStream(at(`made.${form}`)));
    }
    const append = 'console=ttyS0 quiet panic=-1 tsc=unstable nokaslr random.trust_cpu=on';
    const { stdout } = await promisify(execFile)(
      'qemu-system-x86_64',
      [
        ...[
          '-accel',
          'tcg',
          '-cpu',
          'max',
          '-m',
          '256',
          '-nodefaults',
          '-no-reboot',
          '-display',
          'none',
          '-serial',
          'stdio',
        ],
        ...['-kernel', at('made.aki'), '-initrd', at('made.ari'), '-append', append],
        ...['-drive', `if=none,id=root,snapshot=on,format=qcow2,file=${at('made.qcow2')}`],
        ...['-device', 'pvscsi', '-device', 'scsi-hd,drive=root'],
      ],
      { timeout: 120_000 },
    );
    return stdout;
  };

  it('makes an image that starts where the old one did not', async () => {
    const id = await upload(await smallGuest(UPDATE_INITRAMFS));
    const before = await readiness(id);
    expect(before?.qemu?.verdict).toBe('boots');
    for (const kind of ['hyperv', 'vsphere'] as const) expect(before?.[kind]?.verdict).toBe('bootsAfterInjection');
    expect((await inject(id, 'qemu')).status).toBe(409);
    const { image_id: made } = (await inject(id, 'hyperv', 'vsphere')).json();
    expect(await ended(made, 180)).toMatchObject({ status: 'success' });
    await cloud.guests!.idle();
    for (const kind of ['qemu', 'hyperv', 'vsphere'] as const)
      expect((await readiness(made))?.[kind]?.verdict).toBe('boots');
    expect(await bootOnPvscsi(made)).toContain('omnivisor-test: up by vmw_pvscsi');
  }, 400_000);

  it('asks dracut where that is what the guest has', async () => {
    const id = await upload(await smallGuest(DRACUT));
    const { image_id: made } = (await inject(id, 'vsphere')).json();
    expect(await ended(made, 180)).toMatchObject({ status: 'success' });
    await cloud.guests!.idle();
    const { vsphere, hyperv } = (await readiness(made))!;
    expect([vsphere?.verdict, hyperv?.verdict]).toEqual(['boots', 'bootsAfterInjection']);
  }, 300_000);

  it.runIf(lab).each(Object.entries(TOOLS))(
    'is done by a real Debian, with its own %s',
    async (tool, hook) => {
      const root = join(process.env.OMNIVISOR_LAB_DEBIAN_ROOTS ?? folder, tool);
      if (!existsSync(root)) {
        const packages = `linux-image-cloud-amd64,${tool},zstd,kmod,systemd-sysv,udev`;
        const options = ['--variant=minbase', '--mode=root', `--include=${packages}`, `--customize-hook=${hook}`];
        run('mmdebstrap', [...options, 'bookworm', root]);
      }
      for (const file of ['debian.fs', 'debian.raw']) await rm(at(file), { force: true });
      run('truncate', ['-s', '1200M', at('debian.fs')]);
      run('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', root, at('debian.fs')]);
      run('truncate', ['-s', '1202M', at('debian.raw')]);
      run('sfdisk', ['-q', at('debian.raw')], { input: 'label: gpt\nstart=2048,size=2457600,type=L\n' });
      run('dd', [`if=${at('debian.fs')}`, `of=${at('debian.raw')}`, 'bs=1M', 'seek=1', 'conv=notrunc,sparse']);
      const id = await upload(at('debian.raw'));
      const before = await readiness(id);
      expect([before?.qemu?.verdict, before?.hyperv?.verdict, before?.vsphere?.verdict, before?.xen?.verdict]).toEqual([
        ...['boots', 'bootsAfterInjection', 'bootsAfterInjection', 'bootsAfterInjection'],
      ]);
      const started = Date.now();
      const answer = await inject(id, 'hyperv', 'vsphere', 'xen');
      expect(answer.status).toBe(202);
      const { image_id: made } = answer.json();
      expect(await ended(made, 1_200)).toMatchObject({ status: 'success' });
      console.info(`injected in ${Math.round((Date.now() - started) / 1_000)} s`);
      await cloud.guests!.idle();
      for (const kind of ['qemu', 'hyperv', 'vsphere', 'xen'] as const)
        expect((await readiness(made))?.[kind]?.verdict).toBe('boots');
      expect((await call('GET', `/images/${made}`)).json()).toMatchObject({
        ...{ os_omnivisor_made_from: id, os_omnivisor_injected: 'hyperv,vsphere,xen', disk_format: 'qcow2' },
      });
    },
    1_500_000,
  );

  it.skipIf(spawnSync('qemu-system-x86_64', ['--version']).status !== 0)(
    'is refused for a guest that needs none, or of which nothing is known',
    async () => {
      await writeFile(at('zeros.raw'), Buffer.alloc(1024 ** 2));
      const id = await upload(at('zeros.raw'));
      expect((await inject(id, 'hyperv')).status).toBe(409);
      expect((await inject(id)).status).toBe(400);
      expect((await call('POST', `/images/${id}/actions/os-omnivisor-inject`, { hypervisors: ['exe'] })).status).toBe(
        400,
      );
    },
  );
});
