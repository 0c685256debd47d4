import { type Answer, type AnswerObject, type ArgumentObject, listOf, Ref } from './soap.js';
import { isFault } from './vim-fault.js';
import type { VimSession } from './vim-session.js';

/** Properties of one object, by their paths; those that it does not have are missing. */
export type Properties = Readonly<Record<string, Answer | undefined>>;

export interface Found {
  readonly ref: Ref;
  readonly properties: Properties;
}

const named = (answers: Answer | undefined): Properties =>
  Object.fromEntries(
    listOf(answers).map((each) => {
      const { name, val } = each as AnswerObject;
      return [String(name), val];
    }),
  );

/** From an object to those that one of its properties names: of a view, what is in it. */
export const through = (obj: Ref, path: string): ArgumentObject => ({
  obj,
  skip: true,
  selectSet: { $type: 'TraversalSpec', name: path, type: obj.type, path, skip: false },
});

/** Reads properties of managed objects. */
export class PropertyReader {
  private views = new Map<string, { readonly generation: number; readonly view: Ref }>();

  constructor(private readonly session: VimSession) {}

  /** @throws VimFault `ManagedObjectNotFound` */
  async of(ref: Ref, paths: readonly string[]): Promise<Properties> {
    const [found] = await this.retrieve(ref.type, paths, { obj: ref });
    return found?.properties ?? {};
  }

  async one(ref: Ref, path: string): Promise<Answer | undefined> {
    return (await this.of(ref, [path]))[path];
  }

  /** Of several objects of one type, in any order; such as are gone make it fail. */
  async ofAll(refs: readonly Ref[], paths: readonly string[]): Promise<Found[]> {
    const [first] = refs;
    if (!first) return [];
    return this.retrieve(
      first.type,
      paths,
      refs.map((obj) => ({ obj })),
    );
  }

  /** Of each object of this type that a property of another one names, as far as they are there. */
  listed(ref: Ref, path: string, type: string, paths: readonly string[]): Promise<Found[]> {
    return this.retrieve(type, paths, through(ref, path));
  }

  /** Of each object of this type below `container`. */
  async below(container: Ref, type: string, paths: readonly string[]): Promise<Found[]> {
    for (let again = true; ; again = false) {
      const view = await this.view(container, type);
      try {
        return await this.retrieve(type, paths, through(view, 'view'));
      } catch (error) {
        // The session was renewed in between, or an object went while it was looked at.
        if (!again || !isFault(error, 'ManagedObjectNotFound')) throw error;
        this.views.delete(`${container.value} ${type}`);
      }
    }
  }

  /** A view of what is below `container`, which follows what comes and goes. */
  async view(container: Ref, type: string): Promise<Ref> {
    const key = `${container.value} ${type}`;
    const known = this.views.get(key);
    if (known && known.generation === this.session.generation) return known.view;
    const view = (await this.session.call(await this.session.manager('viewManager'), 'CreateContainerView', {
      container,
      type: [type],
      recursive: true,
    })) as Ref;
    this.views.set(key, { generation: this.session.generation, view });
    return view;
  }

  private async retrieve(
    type: string,
    pathSet: readonly string[],
    objectSet: ArgumentObject | readonly ArgumentObject[],
  ): Promise<Found[]> {
    const collector = await this.session.manager('propertyCollector');
    const specSet = { propSet: { type, all: false, pathSet }, objectSet };
    const found: Found[] = [];
    let page = (await this.session.call(collector, 'RetrievePropertiesEx', { specSet, options: {} })) as
      | AnswerObject
      | undefined;
    while (page) {
      for (const each of listOf(page.objects)) {
        const { obj, propSet } = each as AnswerObject;
        found.push({ ref: obj as Ref, properties: named(propSet) });
      }
      page =
        page.token === undefined
          ? undefined
          : ((await this.session.call(collector, 'ContinueRetrievePropertiesEx', {
              token: page.token as string,
            })) as AnswerObject);
    }
    return found;
  }
}
