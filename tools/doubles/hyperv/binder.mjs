import { readFileSync } from 'node:fs';
import { binding } from './errors.mjs';

/** What is documented of the cmdlets that are used; see tools/generate/hyperv-cmdlets.mjs. */
export const moduleTable = JSON.parse(readFileSync(new URL('./generated/module.json', import.meta.url), 'utf8'));

/** Parameters every cmdlet has, which the host script adds by itself. */
const COMMON = new Set(['erroraction', 'warningaction']);
const INTEGERS = {
  Int16: [-32768n, 32767n],
  Int32: [-(2n ** 31n), 2n ** 31n - 1n],
  UInt32: [0n, 2n ** 32n - 1n],
  Int64: [-(2n ** 63n), 2n ** 63n - 1n],
  UInt64: [0n, 2n ** 64n - 1n],
};
/** Classes whose objects may stand for another one. */
const BASES = {
  VMNetworkAdapterBase: ['VMNetworkAdapter'],
  VMComponentObject: ['HardDiskDrive', 'DvdDrive', 'VMNetworkAdapter'],
  VirtualMachineBase: ['VirtualMachine', 'VMSnapshot'],
};
const GUID = /^\{?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?$/i;

/** A live object of the module in the double: its class, and what it stands for. */
export class LiveObject {
  constructor(type, value) {
    this.type = type;
    this.value = value;
  }
}

/**
 * Binds parameters as PowerShell does with names only: no position, no pipeline, no prompt.
 * @param {string} name of a cmdlet in the table
 * @param {Record<string, unknown>} given JSON values and `LiveObject`s
 * @returns {{ set: string, parameters: Record<string, any> }} values converted to the documented types
 */
export const bind = (name, given, table = moduleTable) => {
  const cmdlet = table.cmdlets[name];
  const names = new Map();
  for (const [parameter, { aliases = [] }] of Object.entries(cmdlet.parameters))
    for (const alias of [parameter, ...aliases]) names.set(alias.toLowerCase(), parameter);

  const bound = {};
  for (const [key, value] of Object.entries(given)) {
    if (COMMON.has(key.toLowerCase())) continue;
    const parameter = names.get(key.toLowerCase());
    if (!parameter)
      throw binding('NamedParameterNotFound', `A parameter cannot be found that matches parameter name '${key}'.`);
    bound[parameter] = convert(parameter, cmdlet.parameters[parameter], value, table);
  }
  // `-Switch:$false` is as if it were not there, except that it still selects its parameter set.
  return { set: chooseSet(cmdlet, Object.keys(bound)), parameters: bound };
};

const chooseSet = ({ sets, defaultSet }, given) => {
  const possible = Object.keys(sets).filter((set) =>
    given.every((p) => sets[set].includes(p) || sets[set].includes(`${p}!`)),
  );
  const missingOf = (set) => sets[set].filter((p) => p.endsWith('!') && !given.includes(p.slice(0, -1)));
  const ambiguous = () =>
    binding('AmbiguousParameterSet', 'Parameter set cannot be resolved using the specified named parameters.');
  if (possible.length === 0) throw ambiguous();
  const complete = possible.filter((set) => missingOf(set).length === 0);
  if (complete.length === 1) return complete[0];
  if (complete.length > 1) {
    if (complete.includes(defaultSet)) return defaultSet;
    throw ambiguous();
  }
  const meant = possible.includes(defaultSet) ? defaultSet : possible.length === 1 ? possible[0] : null;
  if (!meant) throw ambiguous();
  const missing = missingOf(meant).map((p) => p.slice(0, -1));
  throw binding(
    'MissingMandatoryParameter',
    `Cannot process command because of one or more missing mandatory parameters: ${missing.join(' ')}.`,
  );
};

const convert = (parameter, definition, value, table) => {
  const { type } = definition;
  // An optional text may be null: so a drive is emptied.
  if (value === null && type === 'String') return null;
  if (value === null || value === undefined)
    throw binding(
      'ParameterArgumentValidationErrorNullNotAllowed',
      `Cannot bind argument to parameter '${parameter}' because it is null.`,
    );
  if (type.endsWith('[]')) {
    const list = Array.isArray(value) ? value : [value];
    return list.map((one) => convertOne(parameter, definition, type.slice(0, -2), one, table));
  }
  if (Array.isArray(value)) throw cannotConvert(parameter, 'System.Object[]', type);
  return convertOne(parameter, definition, type, value, table);
};

const convertOne = (parameter, { values, range }, type, value, table) => {
  if (INTEGERS[type]) return integer(parameter, values, range, type, value);
  if (type === 'SwitchParameter' || type === 'Boolean') {
    if (typeof value !== 'boolean') throw cannotConvert(parameter, value, `System.${type}`);
    return value;
  }
  if (table.enums[type]) return enumName(parameter, type, values, value, table.enums[type]);
  if (type === 'String') {
    if (typeof value === 'object') throw cannotConvert(parameter, 'System.Object', 'System.String');
    if (values && !values.some((v) => v.toLowerCase() === String(value).toLowerCase()) && !/^\d+$/.test(String(value)))
      throw notInSet(parameter, value, values);
    return String(value);
  }
  if (type === 'Guid') {
    if (typeof value !== 'string' || !GUID.test(value)) throw cannotConvert(parameter, value, 'System.Guid');
    return value.replace(/[{}]/g, '').toLowerCase();
  }
  if (value instanceof LiveObject && (value.type === type || BASES[type]?.includes(value.type))) return value.value;
  throw cannotConvert(
    parameter,
    value instanceof LiveObject ? value.type : value,
    `Microsoft.HyperV.PowerShell.${type}`,
  );
};

const integer = (parameter, values, range, type, value) => {
  const isNumber =
    typeof value === 'number' ? Number.isInteger(value) : typeof value === 'string' && /^-?\d+$/.test(value);
  const [low, high] = INTEGERS[type];
  if (!isNumber || BigInt(value) < low || BigInt(value) > high) throw cannotConvert(parameter, value, `System.${type}`);
  if (values && !values.includes(String(value))) throw notInSet(parameter, value, values);
  if (range && (value < range[0] || value > range[1]))
    throw binding(
      'ParameterArgumentValidationError',
      `Cannot validate argument on parameter '${parameter}'. The ${value} argument is outside the allowed range of ${range[0]} to ${range[1]}.`,
    );
  return Number(value);
};

const enumName = (parameter, type, values, value, codes) => {
  const name = Object.keys(codes).find((n) =>
    typeof value === 'number' ? codes[n] === value : n.toLowerCase() === String(value).toLowerCase(),
  );
  if (name && (!values || values.includes(name))) return name;
  const known = (values ?? Object.keys(codes)).join(', ');
  throw binding(
    'CannotConvertArgumentNoMessage',
    `Cannot bind parameter '${parameter}'. Cannot convert value "${value}" to type "Microsoft.HyperV.PowerShell.${type}". Error: "Unable to match the identifier name ${value} to a valid enumerator name. Specify one of the following enumerator names and try again: ${known}"`,
  );
};

const cannotConvert = (parameter, value, type) =>
  binding(
    'CannotConvertArgumentNoMessage',
    `Cannot bind parameter '${parameter}'. Cannot convert "${value}" to type "${type}".`,
  );

const notInSet = (parameter, value, values) =>
  binding(
    'ParameterArgumentValidationError',
    `Cannot validate argument on parameter '${parameter}'. The argument "${value}" does not belong to the set "${values.join(',')}" specified by the ValidateSet attribute.`,
  );
