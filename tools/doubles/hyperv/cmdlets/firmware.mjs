import { invalidParameter, notWhileRunning } from '../errors.mjs';
import { machines } from './vm.mjs';

const TEMPLATES = ['MicrosoftWindows', 'MicrosoftUEFICertificateAuthority', 'OpenSourceShieldedVM'];

const generation = (vm, wanted) => {
  if (vm.Generation !== wanted)
    throw invalidParameter(
      `The virtual machine ${vm.Name} is a generation ${vm.Generation} virtual machine; this operation is for generation ${wanted}.`,
    );
};

export const firmwareCmdlets = {
  'Set-VMFirmware': async (host, parameters) => {
    const { EnableSecureBoot, SecureBootTemplate, FirstBootDevice, BootOrder } = parameters;
    for (const vm of machines(host, parameters)) {
      generation(vm, 2);
      if (vm.State !== 'Off') throw notWhileRunning(vm);
      if (SecureBootTemplate !== undefined) {
        const template = TEMPLATES.find((name) => name.toLowerCase() === SecureBootTemplate.toLowerCase());
        if (!template) throw invalidParameter(`The secure boot template '${SecureBootTemplate}' was not found.`);
        vm.firmware.template = template;
      }
      if (EnableSecureBoot !== undefined) vm.firmware.secureBoot = EnableSecureBoot;
      const first = BootOrder ?? (FirstBootDevice ? [FirstBootDevice] : null);
      if (first) {
        const wanted = first.map((device) => (device.drive ?? device.adapter).id);
        vm.firmware.order = [...wanted, ...vm.firmware.order.filter((id) => !wanted.includes(id))];
      }
    }
    return [];
  },
  'Set-VMBios': async (host, parameters) => {
    for (const vm of machines(host, parameters)) {
      generation(vm, 1);
      if (vm.State !== 'Off') throw notWhileRunning(vm);
      if (parameters.StartupOrder) vm.bios.order = parameters.StartupOrder;
    }
    return [];
  },
  'Set-VMComPort': async (host, parameters) => {
    for (const vm of machines(host, parameters)) {
      if (vm.State !== 'Off') throw notWhileRunning(vm);
      if (parameters.Path != null && !/^\\\\[^\\]+\\pipe\\.+/.test(parameters.Path))
        throw invalidParameter(`'${parameters.Path}' is not the name of a pipe.`);
      vm.com[parameters.Number - 1] = parameters.Path ?? null;
    }
    return [];
  },
};
