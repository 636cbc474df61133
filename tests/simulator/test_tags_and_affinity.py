"""Tags, affinity groups and labels."""

from ovirtsdk4 import types


def test_a_tag_is_found_with_its_children_and_goes_with_them(play):
    async def scenario(lab):
        vms = [await lab.create(name) for name in ("web", "db", "bare")]
        tags = lab.system.tags_service()
        top = await lab.call(tags.add, types.Tag(name="top", description="d"))
        child = await lab.call(tags.add, types.Tag(name="child", parent=types.Tag(name="top")))
        assert (child.parent.id, child.description) == (top.id, None)
        for vm, tag in zip(vms, ("top", "child"), strict=False):
            await lab.call(lab.vms.vm_service(vm).tags_service().add, types.Tag(name=tag))
        found = {
            text: [vm.name for vm in await lab.call(lab.vms.list, search=text)]
            for text in ("tag=top", "tag=child", "tag=TOP", "tag != top")
        }
        assert found == {
            "tag=top": ["db", "web"],
            "tag=child": ["db"],
            "tag=TOP": [],
            "tag != top": ["bare", "db"],
        }
        await lab.call(tags.tag_service(top.id).remove)
        assert (await lab.request("GET", f"/tags/{child.id}")).status == 404
        assert await lab.call(lab.vms.vm_service(vms[1]).tags_service().list) == []

    play(scenario)


def test_templates_and_hosts_have_tags_too(play):
    async def scenario(lab):
        await lab.call(lab.system.tags_service().add, types.Tag(name="blue"))
        template = lab.world.templates_named("debian-12")[0].id
        host = next(iter(lab.world.hosts))
        for path, owner in (("templates", template), ("hosts", host)):
            made = await lab.request("POST", f"/{path}/{owner}/tags", "<tag><name>blue</name></tag>")
            assert made.status == 201
            listed = await lab.request("GET", f"/{path}/{owner}/tags")
            assert listed.text.count("<name>blue</name>") == 1
            tag = next(tag.id for tag in lab.world.tags.values() if tag.name == "blue")
            assert (await lab.request("DELETE", f"/{path}/{owner}/tags/{tag}")).status == 200
            assert (await lab.request("DELETE", f"/{path}/{owner}/tags/{tag}")).status == 404

    play(scenario)


def test_an_affinity_group_has_rules_and_members(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        cluster = next(iter(lab.world.clusters))
        groups = lab.system.clusters_service().cluster_service(cluster).affinity_groups_service()
        rule = types.AffinityRule(enabled=True, enforcing=True, positive=False)
        made = await lab.call(groups.add, types.AffinityGroup(name="apart", vms_rule=rule))
        assert (made.vms_rule.enforcing, made.hosts_rule.enabled, made.priority) == (True, False, 1.0)
        service = groups.group_service(made.id)
        path = f"/clusters/{cluster}/affinitygroups/{made.id}/vms"
        assert (await lab.request("POST", path, f'<vm id="{vm_id}"/>')).status == 200
        again = await lab.request("POST", path, f'<vm id="{vm_id}"/>')
        assert (again.status, "[Cannot edit Affinity Group. Duplicate VM.]" in again.text) == (400, True)
        assert [vm.id for vm in (await lab.call(service.get)).vms] == [vm_id]
        assert [vm.name for vm in await lab.call(service.vms_service().list)] == ["web"]
        soft = types.AffinityGroup(vms_rule=types.AffinityRule(enforcing=False))
        changed = await lab.call(service.update, soft)
        assert (changed.vms_rule.enforcing, changed.vms_rule.enabled) == (False, True)
        twin = await lab.request(
            "POST",
            f"/clusters/{cluster}/affinitygroups",
            "<affinity_group><name>apart</name></affinity_group>",
        )
        assert (twin.status, "Affinity Group name already exists." in twin.text) == (400, True)
        await lab.call(service.remove)
        assert await lab.call(groups.list) == []

    play(scenario)


def test_an_affinity_label_in_use_stays(play):
    async def scenario(lab):
        vm_id = await lab.create("web")
        labels = lab.system.affinity_labels_service()
        made = await lab.call(labels.add, types.AffinityLabel(name="ssd"))
        of_vm = lab.vms.vm_service(vm_id).affinity_labels_service()
        await lab.call(of_vm.add, types.AffinityLabel(id=made.id))
        assert [label.name for label in await lab.call(of_vm.list)] == ["ssd"]
        assert [vm.id for vm in await lab.call(labels.label_service(made.id).vms_service().list)] == [vm_id]
        kept = await lab.request("DELETE", f"/affinitylabels/{made.id}")
        assert (kept.status, "remove it from all entities first" in kept.text) == (409, True)
        await lab.call(of_vm.label_service(made.id).remove)
        await lab.call(labels.label_service(made.id).remove)
        assert await lab.call(labels.list) == []

    play(scenario)


def test_vms_that_must_be_apart_do_not_run_on_one_host(play):
    async def scenario(lab):
        cluster = next(iter(lab.world.clusters))
        vms = [await lab.create(name) for name in ("one", "two")]
        groups = lab.system.clusters_service().cluster_service(cluster).affinity_groups_service()
        rule = types.AffinityRule(enabled=True, enforcing=True, positive=False)
        members = [types.Vm(id=one) for one in vms]
        group = await lab.call(groups.add, types.AffinityGroup(name="apart", vms_rule=rule, vms=members))
        await lab.up(vms[0])
        refused = await lab.request("POST", f"/vms/{vms[1]}/start", "<action/>")
        assert refused.status == 409
        assert "did not satisfy internal filter VmAffinityGroups because it matched negative" in refused.text

        together = types.AffinityRule(enabled=True, enforcing=True, positive=True)
        await lab.call(groups.group_service(group.id).update, types.AffinityGroup(vms_rule=together))
        await lab.up(vms[1])

    play(scenario)
