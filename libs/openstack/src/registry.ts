import type { OperationSpec } from './operation.js';

/** A method of a controller that serves an operation. */
export interface RegisteredOperation {
  readonly spec: OperationSpec;
  readonly controller: abstract new (...args: never[]) => object;
  readonly method: string;
}

const byController = new Map<object, RegisteredOperation[]>();

/**
 * Serves an operation by a controller's method, which gets the `Call` and returns a JSON body, a `Reply`, or nothing.
 * A method may serve several operations.
 */
export const Operation =
  (spec: OperationSpec) =>
  (target: object, method: string | symbol): void => {
    const controller = target.constructor as RegisteredOperation['controller'];
    const operations = byController.get(controller) ?? [];
    byController.set(controller, operations);
    // Decorators of one method run from the last to the first; the table reads as the source does.
    const at = operations.findIndex((o) => o.method === method);
    const row = { spec, controller, method: String(method) };
    if (at < 0) operations.push(row);
    else operations.splice(at, 0, row);
  };

/** The operations that a controller class declares, in the order of its source. */
export const operationsOf = (controller: object): readonly RegisteredOperation[] => byController.get(controller) ?? [];

/** Every operation of the classes loaded so far. */
export const allOperations = (): readonly RegisteredOperation[] => [...byController.values()].flat();
