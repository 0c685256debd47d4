import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
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
/** Says, once it is up, by which driver its disk came, its file systems and the label that SELinux knows; then it powers off. */
const UNIT = `[Unit]
After=local-fs.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cd -P /sys/block/sda/device/../../..; set -- $(findmnt -rno FSTYPE /) $(findmnt -rno FSTYPE /boot) $(stat -c %%C /etc/dracut.conf.d/omnivisor.conf 2>/dev/null | grep :); echo "omnivisor-test: up by $(basename $(readlink driver)) on $*" >/dev/console; systemctl poweroff'
`;
const NEEDLESS = 'hv_vmbus hv_storvsc vmw_pvscsi xen-blkfront ata_piix';
const dracut = (omitted: string, path: string) =>
  `few=$1/etc/dracut.conf.d/few.conf; echo 'omit_drivers+=" ${omitted} "' >$few
  chroot $1 dracut --force --no-hostonly ${path} $release; rm $few`;
/** What makes its initial RAM disk, how it comes to have few drivers, and on what it lies. */
const DEBIANS = {
  'initramfs-tools': {
    ...{ packages: 'initramfs-tools', root: 'ext4', boot: null, up: 'ext4' },
    hook: `echo MODULES=list >$1/etc/initramfs-tools/conf.d/list
      printf 'virtio_pci\nvirtio_blk\next4\n' >>$1/etc/initramfs-tools/modules; chroot $1 update-initramfs -u`,
  },
  dracut: {
    ...{ packages: 'dracut', root: 'ext4', boot: null, up: 'ext4' },
    hook: dracut(NEEDLESS, '/boot/initrd.img-$release'),
  },
  /** As RHEL lays it out, with a policy of SELinux; GRUB starts the older kernel. */
  'dracut, on the file systems of RHEL': {
    ...{ packages: 'dracut,xfsprogs,policycoreutils,selinux-policy-default', root: 'xfs', boot: 'ext4' },
    up: 'xfs ext4 system_u:object_r:etc_t:s0',
    hook: `${dracut(NEEDLESS, '/boot/initramfs-$release.img')}; rm $1/boot/initrd.img-*
      id=d2f1a7d3c5b94a2e8f60718293a4b5c6; mkdir -p $1/boot/loader/entries $1/boot/grub2
      for r in $release 9.0.0-1.el9.x86_64; do
        printf "linux /vmlinuz-$r\ninitrd /initramfs-$r.img\n" >$1/boot/loader/entries/$id-$r.conf
      done
      cp $1/boot/vmlinuz-$release $1/boot/vmlinuz-9.0.0-1.el9.x86_64
      echo x >$1/boot/initramfs-9.0.0-1.el9.x86_64.img
      echo saved_entry=$id-$release >$1/boot/grub2/grubenv
      echo 'set default="\${saved_entry}"' >$1/boot/grub2/grub.cfg
      echo SELINUXTYPE=default >$1/etc/selinux/config
      echo LABEL=boot /boot ext4 defaults 0 0 >$1/etc/fstab`,
  },
} as const;

/** Stands in for a guest's tool where there is no distribution: packs the modules that its list names, and what is there. */
const standIn = (options: string, list: string, ramDisk: string) => `#!/bin/sh
set -e
[ "$*" = "${options}" ] || exit 1
release=$(uname -r)
tree=/tmp/tree
mkdir -p $tree && cd $tree
zcat ${ramDisk} | cpio -idu 2>/dev/null
for module in $(${list}); do
  name=$(echo $module | sed 's/[-_]/[-_]/g')
  for file in $(find /lib/modules/$release -name "$name.ko"); do
    mkdir -p .$(dirname $file) && cp $file .$file
  done
done
find . | cpio -o -H newc 2>/dev/null | gzip -1 >${ramDisk}
rm -rf $tree
`;
interface Tool {
  readonly ramDisk: string;
  readonly files: Readonly<Record<string, string>>;
  /** What dracut made has none. */
  readonly chroot: boolean;
}
const UPDATE_INITRAMFS: Tool = {
  ...{ chroot: true, ramDisk: 'initrd.img-$release' },
  files: {
    'usr/sbin/mkinitramfs': '#!/bin/sh\n',
    'usr/sbin/update-initramfs': standIn(
      '-u -k $(uname -r)',
      'cat /etc/initramfs-tools/modules',
      '/boot/initrd.img-$release',
    ),
  },
};
const dracutFor = (ramDisk: string): Tool => ({
  ...{ chroot: false, ramDisk },
  files: {
    'usr/bin/dracut': standIn(
      `--force --no-hostonly /boot/${ramDisk.replace('$release', '$(uname -r)')} $(uname -r)`,
      `cut -d'"' -f2 /etc/dracut.conf.d/omnivisor.conf`,
      `/boot/${ramDisk}`,
    ),
    // As packages of dracut bring it for those who know the other; it would look for the devices of this machine.
    'usr/sbin/update-initramfs': '#!/bin/sh\nexec dracut --force\n',
  },
});
const DEBIAN_DRACUT = dracutFor('initrd.img-$release');
const RHEL_DRACUT = dracutFor('initramfs-$release.img');
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
    return { status: answer.statusCode, text: answer.body, json: () => answer.json() };
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

  /** Debian to all who look, with a kernel that has every driver and a RAM disk that has those of QEMU. @returns its tree */
  const smallGuest = async ({ ramDisk, files, chroot }: Tool): Promise<string> => {
    if (!existsSync(at('root'))) await smallTree();
    const [release] = await readdir(at('ram/lib/modules'));
    await rm(at('root/boot'), { recursive: true, force: true });
    await mkdir(at('root/boot'));
    await cp(at('aki'), at('root/boot', `vmlinuz-${release}`));
    for (const path of [UPDATE_INITRAMFS, RHEL_DRACUT].flatMap((tool) => Object.keys(tool.files)))
      await rm(at('root', path), { force: true });
    for (const [path, script] of Object.entries(files)) await writeFile(at('root', path), script, { mode: 0o755 });
    await rm(at('ram/bin/chroot'), { force: true });
    if (chroot) await symlink('busybox', at('ram/bin/chroot'));
    const packed = at('root/boot', ramDisk.replace('$release', release!));
    run('sh', ['-c', `find . | cpio --quiet -o -H newc -R 0:0 | gzip -1 >${packed}`], { cwd: at('ram') });
    return at('root');
  };
  const smallDisk = async (tool: Tool) => fileSystem('ext4', 'omnivisor-root', 128, await smallGuest(tool));
  /** With a file system for /boot of which its RAM disk knows nothing, and a kernel that is newer and not started. */
  const smallDiskOfTwo = async (): Promise<string> => {
    const tree = await smallGuest(RHEL_DRACUT);
    const [release] = await readdir(at('ram/lib/modules'));
    await writeFile(at('grubenv'), `saved_entry=d2f1a7d3c5b94a2e8f60718293a4b5c6-${release}\n`);
    await writeFile(at('grub.cfg'), `set default="\${saved_entry}"\n`);
    await writeFile(at('none'), '');
    const boot = at('boot.fs');
    await rm(boot, { force: true });
    run('truncate', ['-s', '64M', boot]);
    run('mkfs.vfat', [boot]);
    for (const name of await readdir(join(tree, 'boot')))
      run('mcopy', ['-i', boot, join(tree, 'boot', name), `::/${name}`]);
    run('mcopy', ['-i', boot, at('aki'), '::/vmlinuz-9.0.0-1.el9.x86_64']);
    run('mcopy', ['-i', boot, at('none'), '::/initramfs-9.0.0-1.el9.x86_64.img']);
    run('mmd', ['-i', boot, '::/grub2']);
    for (const name of ['grubenv', 'grub.cfg']) run('mcopy', ['-i', boot, at(name), `::/grub2/${name}`]);
    await rm(join(tree, 'boot'), { recursive: true });
    await mkdir(join(tree, 'boot'));
    return partitioned(boot, await fileSystem('ext4', 'omnivisor-root', 128, tree));
  };
  const smallTree = async (): Promise<void> => {
    const one = await startOneImage();
    for (const form of ['aki', 'ari'] as const) await cp(await one.file(form), at(form));
    await one.stop();
    await mkdir(at('ram'));
    run('sh', ['-c', `zstd -dc ${at('ari')} | cpio --quiet -idu`], { cwd: at('ram') });
    for (const path of ['etc/initramfs-tools', 'usr/sbin', 'usr/bin', 'bin', 'tmp', 'run', 'dev', 'proc', 'sys'])
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
        'find lib/modules -type f \\( -name "hv_*" -o -name "vmw_*" -o -name "vmxnet3*" -o -name "ata_piix*" -o -name "*fat.ko" \\) -delete',
      ],
      {
        cwd: at('ram'),
      },
    );
    await symlink('busybox', at('ram/bin/mkdir'));
  };
  /** A disk of these file systems, each in a partition of its own. */
  const partitioned = async (...parts: string[]): Promise<string> => {
    const MIB = 1024 ** 2;
    const sizes = await Promise.all(parts.map(async (part) => (await stat(part)).size / MIB));
    await rm(at('disk.raw'), { force: true });
    run('truncate', ['-s', `${sizes.reduce((sum, size) => sum + size, 2)}M`, at('disk.raw')]);
    run('sfdisk', ['-q', at('disk.raw')], {
      input: ['label: gpt', ...sizes.map((s) => `size=${s}M,type=L`)].join('\n'),
    });
    let seek = 1;
    for (const [i, part] of parts.entries()) {
      run('dd', [`if=${part}`, `of=${at('disk.raw')}`, 'bs=1M', `seek=${seek}`, 'conv=notrunc,sparse']);
      seek += sizes[i]!;
    }
    return at('disk.raw');
  };
  const fileSystem = async (kind: string, label: string, MiB: number, tree: string): Promise<string> => {
    const path = at(`${label}.fs`);
    await rm(path, { force: true });
    run('truncate', ['-s', `${MiB}M`, path]);
    if (kind === 'ext4') run('mke2fs', ['-q', '-F', '-t', 'ext4', '-L', label, '-d', tree, path]);
    else {
      run('mkfs.xfs', ['-q', '-L', label, path]);
      await mkdir(at('mnt'), { recursive: true });
      run('mount', ['-o', 'loop', path, at('mnt')]);
      try {
        run('cp', ['-a', `${tree}/.`, at('mnt')]);
      } finally {
        run('umount', [at('mnt')]);
      }
    }
    return path;
  };
  /** A real one with few drivers. @returns its disk */
  const realDebian = async (name: keyof typeof DEBIANS): Promise<string> => {
    const { packages, root, boot, hook } = DEBIANS[name];
    const tree = join(process.env.OMNIVISOR_LAB_DEBIAN_ROOTS ?? folder, name.replaceAll(/\W+/g, '-'));
    if (!existsSync(tree)) {
      const unit = `cd "$1/etc/systemd/system"; mkdir -p multi-user.target.wants; printf %s '${UNIT.replaceAll("'", `'\\''`)}' >omnivisor-test.service; ln -s ../omnivisor-test.service multi-user.target.wants/`;
      const include = `--include=linux-image-cloud-amd64,${packages},zstd,kmod,systemd-sysv,udev`;
      const hooks = [unit, `set -e; release=$(ls "$1/lib/modules"); ${hook}`].map((h) => `--customize-hook=${h}`);
      run('mmdebstrap', ['--variant=minbase', '--mode=root', include, ...hooks, 'bookworm', tree]);
    }
    if (boot === null) return partitioned(await fileSystem(root, 'root', 1_200, tree));
    await rm(at('apart'), { recursive: true, force: true });
    await cp(join(tree, 'boot'), at('apart'), { recursive: true });
    const apart = await fileSystem(boot, 'boot', 300, at('apart'));
    const whole = await fileSystem(root, 'root', 1_200, tree);
    return partitioned(apart, whole);
  };

  const bytesOf = async (id: string, form: 'qcow2' | 'aki' | 'ari'): Promise<string> => {
    const image = (await (await cloud.core.fresh()).get(imagesTable, id))!;
    const path = at(`made.${form}`);
    await pipeline(
      await cloud.forms.read((await cloud.forms.ready(image, form, ms(60_000)))!),
      createWriteStream(path),
    );
    return path;
  };
  /** Starts the guest's kernel and RAM disk beside its disk on the controller of vSphere. @returns what it says until it is off */
  const bootOnPvscsi = async (id: string, seconds = 120): Promise<string> => {
    const [disk, kernel, ramDisk] = [await bytesOf(id, 'qcow2'), await bytesOf(id, 'aki'), await bytesOf(id, 'ari')];
    const common = 'console=ttyS0 quiet panic=-1 tsc=unstable nokaslr random.trust_cpu=on';
    const append = `root=LABEL=root rw ${common} rd.shell=0 rd.emergency=poweroff rd.retry=20`;
    const { stdout } = await promisify(execFile)(
      'qemu-system-x86_64',
      [
        ...['-accel', 'tcg', '-cpu', 'max', '-m', '512', '-nodefaults', '-no-reboot', '-display', 'none'],
        ...['-serial', 'stdio', '-kernel', kernel, '-initrd', ramDisk, '-append', append],
        ...['-drive', `if=none,id=root,snapshot=on,format=qcow2,file=${disk}`],
        ...['-device', 'pvscsi', '-device', 'scsi-hd,drive=root'],
      ],
      { timeout: seconds * 1_000 },
    );
    return stdout;
  };

  it('makes an image that starts where the old one did not', async () => {
    const id = await upload(await smallDisk(UPDATE_INITRAMFS));
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
    const id = await upload(await smallDisk(DEBIAN_DRACUT));
    const { image_id: made } = (await inject(id, 'vsphere')).json();
    expect(await ended(made, 180)).toMatchObject({ status: 'success' });
    await cloud.guests!.idle();
    const { vsphere, hyperv } = (await readiness(made))!;
    expect([vsphere?.verdict, hyperv?.verdict]).toEqual(['boots', 'bootsAfterInjection']);
  }, 300_000);

  it('makes the RAM disk of the kernel that GRUB starts, in a file system for /boot as RHEL has it', async () => {
    const id = await upload(await smallDiskOfTwo());
    expect((await readiness(id))?.vsphere?.verdict).toBe('bootsAfterInjection');
    const { image_id: made } = (await inject(id, 'vsphere')).json();
    expect(await ended(made, 180)).toMatchObject({ status: 'success' });
    await cloud.guests!.idle();
    expect((await readiness(made))?.vsphere?.verdict).toBe('boots');
    expect(await bootOnPvscsi(made)).toContain('omnivisor-test: up by vmw_pvscsi');
  }, 400_000);

  it('is refused, and says why, for a guest that starts elsewhere and has its root in LVM', async () => {
    const boot = await fileSystem('ext4', 'boot', 64, join(await smallGuest(RHEL_DRACUT), 'boot'));
    await writeFile(at('lvm'), Buffer.concat([Buffer.alloc(512), Buffer.from('LABELONE')], 1024 ** 2));
    const disk = await partitioned(boot, at('lvm'));
    // Code for BIOS: nothing is missing where it starts.
    run('dd', [`of=${disk}`, 'conv=notrunc'], { input: 'x' });
    const id = await upload(disk);
    const { qemu, vsphere } = (await readiness(id))!;
    expect([qemu?.verdict, vsphere]).toEqual(['boots', undefined]);
    for (const [kind, why] of [
      ['vsphere', 'its file systems are in LVM'],
      ['qemu', 'its initial RAM disk has them'],
    ] as const) {
      const refused = await inject(id, kind);
      expect([refused.status, refused.text]).toEqual([409, expect.stringContaining(why)]);
    }
  }, 60_000);

  it.runIf(lab).each(Object.keys(DEBIANS) as (keyof typeof DEBIANS)[])(
    'is done by a real Debian, with its own %s',
    async (name) => {
      const id = await upload(await realDebian(name));
      const before = await readiness(id);
      expect([before?.qemu?.verdict, before?.hyperv?.verdict, before?.vsphere?.verdict, before?.xen?.verdict]).toEqual([
        ...['boots', 'bootsAfterInjection', 'bootsAfterInjection', 'bootsAfterInjection'],
      ]);
      expect(await bootOnPvscsi(id, 600)).not.toContain('omnivisor-test: up');
      const started = Date.now();
      const answer = await inject(id, 'hyperv', 'vsphere', 'xen');
      expect(answer.status).toBe(202);
      const { image_id: made } = answer.json();
      expect(await ended(made, 1_200)).toMatchObject({ status: 'success' });
      const injected = Date.now();
      await cloud.guests!.idle();
      for (const kind of ['qemu', 'hyperv', 'vsphere', 'xen'] as const)
        expect((await readiness(made))?.[kind]?.verdict).toBe('boots');
      expect((await call('GET', `/images/${made}`)).json()).toMatchObject({
        ...{ os_omnivisor_made_from: id, os_omnivisor_injected: 'hyperv,vsphere,xen', disk_format: 'qcow2' },
      });
      const said = await bootOnPvscsi(made, 600);
      const up = /omnivisor-test: up by .*/.exec(said)?.[0].trim();
      expect(up, said.slice(-2_000)).toBe(`omnivisor-test: up by vmw_pvscsi on ${DEBIANS[name].up}`);
      const seconds = [injected - started, Date.now() - injected].map((ms) => Math.round(ms / 1_000));
      console.info(`injected in ${seconds[0]} s, booted in ${seconds[1]} s: ${up}`);
    },
    2_400_000,
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
